"""Media in their own address: read like content, refused by path where they are none."""

from __future__ import annotations

import pytest

from llmgateway.v1 import completion_pb2, message_pb2
from llmgateway_server.contract.data_uri import read_data_uri
from llmgateway_server.contract.requests_in import complete_request
from llmgateway_server.core.errors import RequestError
from llmgateway_server.core.messages import MediaPart


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("data:image/png;base64,aGk=", ("image/png", b"hi")),
        ("DATA:Image/PNG;BASE64,aGk=", ("image/png", b"hi")),
        ("data:text/plain;charset=utf-8;base64,aGk=", ("text/plain", b"hi")),
        ("data:,a%20b", ("text/plain", b"a b")),
        ("data:image/svg+xml,%3Csvg/%3E", ("image/svg+xml", b"<svg/>")),
        ("data:image/png;base64,aGk", None),
        ("data:image/png;base64,a*k=", None),
        ("data:image/png", None),
        ("data:;;,x", None),
    ],
)
def test_data_addresses(uri: str, found: tuple[str, bytes] | None) -> None:
    assert read_data_uri(uri) == found


def request_with(media: message_pb2.Media) -> completion_pb2.CompleteRequest:
    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(media=media)])
    return completion_pb2.CompleteRequest(messages=[message])


def test_they_become_content() -> None:
    request = complete_request(request_with(message_pb2.Media(uri="data:image/png;base64,aGk=", filename="a")))
    assert request.messages[0].parts[0].content == MediaPart("image/png", b"hi", None, "a")


@pytest.mark.parametrize("uri", ["data:image/png;base64,", "data:image/png;base64,*", "data:"])
def test_what_is_none_is_named(uri: str) -> None:
    with pytest.raises(RequestError) as caught:
        complete_request(request_with(message_pb2.Media(uri=uri)))
    assert [violation.field for violation in caught.value.violations] == ["messages[0].parts[0].media.uri"]
