"""The framing of an answer is chosen by what it says that it is."""

from __future__ import annotations

import pytest

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.dialects.framing import Framings, framing_for
from llmgateway_server.providers.dialects.json_array import JsonArrayDecoder
from llmgateway_server.providers.dialects.lines import LineDecoder
from llmgateway_server.providers.dialects.sse import SseDecoder

FRAMINGS: Framings = {
    "text/event-stream": SseDecoder,
    "application/json": JsonArrayDecoder,
    "application/x-ndjson": LineDecoder,
}


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("text/event-stream", SseDecoder),
        ("Text/Event-Stream; charset=utf-8", SseDecoder),
        ("application/json;charset=UTF-8", JsonArrayDecoder),
        (" application/x-ndjson ", LineDecoder),
        ("", SseDecoder),
        ("application/octet-stream", SseDecoder),
        ("; charset=utf-8", SseDecoder),
        ("none", SseDecoder),
        ("text/", SseDecoder),
    ],
)
def test_the_media_type_tells(content_type: str, kind: type) -> None:
    assert type(framing_for(FRAMINGS, content_type)) is kind


@pytest.mark.parametrize("content_type", ["text/html", "text/html; charset=utf-8", "application/jsonl", "text/plain"])
def test_another_type_is_no_stream(content_type: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        framing_for(FRAMINGS, content_type)
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED
    assert content_type not in str(caught.value)


def test_every_stream_has_a_framing_of_its_own() -> None:
    one, other = (framing_for(FRAMINGS, "application/x-ndjson") for _ in range(2))
    assert one.feed(b"half") == []
    assert other.end() == []
