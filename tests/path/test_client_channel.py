"""Channels of both clients: retries by service config, deadlines, TLS, Unix sockets, keys, limits."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from llmgateway import AsyncClient, Client, ResourceExhausted, Unavailable, media
from llmgateway.v1 import reply_pb2
from tests.unit.client.kit import Complete, served, text_reply


class Flaky:
    """Fails a number of times before it has sent anything, then answers."""

    def __init__(self, failures: int) -> None:
        self.calls = 0
        self._failures = failures
        self._lock = threading.Lock()

    def complete(self, request: object, context: grpc.ServicerContext) -> reply_pb2.CompleteResponse:
        self._fail(context)
        return text_reply(f"call {self.calls}")

    def stream(self, request: object, context: grpc.ServicerContext) -> Any:
        self._fail(context)
        events = [
            reply_pb2.Event(seq=1, started=reply_pb2.Started(model=f"call {self.calls}")),
            reply_pb2.Event(seq=2, finished=reply_pb2.Finished()),
        ]
        yield reply_pb2.StreamCompleteResponse(events=events)

    def _fail(self, context: grpc.ServicerContext) -> None:
        with self._lock:
            self.calls += 1
        if self.calls <= self._failures:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")


def test_unavailable_is_retried_before_anything_came() -> None:
    flaky = Flaky(2)
    with served(flaky.complete) as target, Client(target) as client:
        assert client.complete("", "hi").text == "call 3"
    flaky = Flaky(2)
    with served(stream=flaky.stream) as target, Client(target) as client:
        assert client.stream("", "hi").reply().raw.model == "call 3"


async def test_unavailable_is_retried_in_asyncio() -> None:
    flaky = Flaky(2)
    with served(flaky.complete, flaky.stream) as target:
        async with AsyncClient(target) as client:
            assert (await client.complete("", "hi")).text == "call 3"
    flaky = Flaky(2)
    with served(flaky.complete, flaky.stream) as target:
        async with AsyncClient(target) as client:
            assert (await client.stream("", "hi").reply()).raw.model == "call 3"


def test_retries_end() -> None:
    flaky = Flaky(100)
    with served(flaky.complete) as target, Client(target) as client, pytest.raises(Unavailable, match="not now"):
        client.complete("", "hi")
    assert flaky.calls == 3


def remaining(seen: list[float | None]) -> Complete:
    def complete(request: object, context: grpc.ServicerContext) -> reply_pb2.CompleteResponse:
        seen.append(context.time_remaining())
        return text_reply("ok")

    return complete


def test_every_call_has_a_deadline_that_nothing_shortens() -> None:
    seen: list[float | None] = []
    with served(remaining(seen)) as target, Client(target) as client:
        client.complete("", "hi")
        client.complete("", "hi", timeout=500)  # longer than the published service config's own
    assert [round(each or 0, -1) for each in seen] == [60, 500]


def echo_key(request: object, context: grpc.ServicerContext) -> reply_pb2.CompleteResponse:
    sent = dict(context.invocation_metadata())
    return text_reply(f"{sent.get('authorization')!r} {sent['user-agent']!r}")


async def test_the_key_is_sent() -> None:
    with served(echo_key) as target:
        with Client(target, api_key="sk-1") as client:
            assert client.complete("", "hi").text.startswith("'Bearer sk-1' 'llmgateway-python/")
        async with AsyncClient(target, api_key="") as awaited:
            assert (await awaited.complete("", "hi")).text.startswith("None 'llmgateway-python/")


def test_a_unix_socket(tmp_path: Path) -> None:
    with served(echo_key, address=f"unix:{tmp_path}/s") as target, Client(target, api_key="sk-1") as client:
        assert client.complete("", "hi").text.startswith("'Bearer sk-1'")


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def credentials(authority: trustme.CA, *, ask_client: bool = False) -> grpc.ServerCredentials:
    issued = authority.issue_cert("localhost")
    pair = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
    return grpc.ssl_server_credentials(
        [pair], authority.cert_pem.bytes() if ask_client else None, require_client_auth=ask_client
    )


async def test_tls(authority: trustme.CA, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    with served(echo_key, credentials=credentials(authority)) as target:
        with Client(target, api_key="sk-1", ca=ca) as client:
            assert client.complete("", "hi").text.startswith("'Bearer sk-1'")
        async with AsyncClient(target, api_key="sk-1", ca=ca) as awaited:
            assert (await awaited.complete("", "hi")).text.startswith("'Bearer sk-1'")
        with Client(target, tls=True) as stranger, pytest.raises(Unavailable):
            stranger.complete("", "hi", timeout=10)
        with Client(target) as plain, pytest.raises(Unavailable):
            plain.complete("", "hi", timeout=10)


def test_mutual_tls(authority: trustme.CA, tmp_path: Path) -> None:
    ca, chain, key = tmp_path / "ca.pem", tmp_path / "chain.pem", tmp_path / "key.pem"
    authority.cert_pem.write_to_path(str(ca))
    issued = authority.issue_cert("client@example.org")
    issued.cert_chain_pems[0].write_to_path(str(chain))
    issued.private_key_pem.write_to_path(str(key))
    with served(echo_key, credentials=credentials(authority, ask_client=True)) as target:
        with Client(target, ca=ca, client_cert=(chain, key)) as client:
            assert client.complete("", "hi").text
        with Client(target, ca=ca) as nameless, pytest.raises(Unavailable):
            nameless.complete("", "hi", timeout=10)


async def test_a_message_that_is_too_large_is_no_raw_error() -> None:
    large = ("user", [media(data=b"x" * (17 * 1024 * 1024), mime_type="image/png")])
    with served(echo_key) as target:
        with Client(target) as client, pytest.raises(ResourceExhausted, match="larger than max"):
            client.complete("", large)
        async with AsyncClient(target) as awaited:
            with pytest.raises(ResourceExhausted, match="larger than max"):
                await awaited.complete("", large)


class Counting(grpc.UnaryUnaryClientInterceptor):
    def __init__(self) -> None:
        self.calls = 0

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        self.calls += 1
        return continuation(client_call_details, request)


def test_interceptors() -> None:
    counting = Counting()
    with served(echo_key) as target, Client(target, interceptors=[counting]) as client:
        client.complete("", "hi")
    assert counting.calls == 1
