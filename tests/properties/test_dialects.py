"""For every reply that a provider can give: read whole and read as a stream, however it is cut, it is the same."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.dialects.anthropic_messages import AnthropicMessages
from llmgateway_server.providers.dialects.bedrock_converse import BedrockConverse
from llmgateway_server.providers.dialects.bedrock_llama import BedrockLlama
from llmgateway_server.providers.dialects.cohere_chat import CohereChat
from llmgateway_server.providers.dialects.gemini import Gemini
from llmgateway_server.providers.dialects.ollama_chat import OllamaChat
from llmgateway_server.providers.dialects.openai_chat import OpenAiChat
from llmgateway_server.providers.dialects.openai_responses import OpenAiResponses
from llmgateway_server.testing.fake_provider import FORMATS, FakeReply, Format, cuts
from llmgateway_server.testing.fake_provider.endpoints import ENDPOINTS
from llmgateway_server.testing.fake_provider.frames import compact
from tests.contract.fake_replies import REQUESTS
from tests.properties.fake_replies import fake_replies
from tests.unit.dialects.kit import Folded, Reader, parsed

READERS: dict[Format, Reader] = {
    "openai_chat": Reader(OpenAiChat(), parsed),
    "openai_responses": Reader(OpenAiResponses(), parsed),
    "anthropic_messages": Reader(AnthropicMessages(), parsed),
    "bedrock_converse": Reader(BedrockConverse(), parsed),
    "bedrock_llama": Reader(BedrockLlama(), parsed),
    "ollama_chat": Reader(OllamaChat(), parsed),
    "cohere_chat": Reader(CohereChat(), parsed),
    "gemini": Reader(Gemini(), parsed),
}
ENDPOINT_OF = {endpoint.format: endpoint for endpoint in ENDPOINTS.values()}
IN_ANY_ORDER = {"openai_chat", "ollama_chat"}
"""Formats whose whole answers have one field for each kind of part, so that only a stream tells which came first."""
UNREAD: dict[Format, bytes] = {"cohere_chat": b"data: [DONE]"}
"""What a stream has behind its last event, and nobody waits for."""
BROKEN = {Reason.UPSTREAM_STREAM_INTERRUPTED, Reason.UPSTREAM_MALFORMED}
FEW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def same(folded: Folded, format: Format) -> Folded:
    """Returns a reply without what need not be the same however it is read: the order of parts in some formats."""
    if format in IN_ANY_ORDER:
        folded.parts.sort(key=lambda part: part.kind)
    return folded


def written(format: Format, reply: FakeReply) -> tuple[bytes, bytes]:
    """Returns the reply as a whole answer and as a stream."""
    endpoint, request = ENDPOINT_OF[format], REQUESTS[format]
    stream = {**request, "stream": True, "stream_options": {"include_usage": True}}
    reply = replace(reply, response_id="id_fixed")
    return compact(endpoint.body(reply, request)).encode(), b"".join(endpoint.frames(reply, stream))


@pytest.mark.parametrize("format", FORMATS)
@FEW
@given(st.data())
def test_whole_and_streamed_are_the_same(format: Format, data: st.DataObject) -> None:
    body, stream = written(format, data.draw(fake_replies(format)))
    cut = data.draw(st.sampled_from([cuts.whole, cuts.one_byte, cuts.inside_utf8, cuts.seeded(7)]))
    bounds = itertools.accumulate(map(len, cut(stream)[:-1]))
    reader = READERS[format]
    assert same(reader.streamed(stream, bounds), format) == same(reader.whole(body), format)


@pytest.mark.parametrize("format", FORMATS)
@FEW
@given(st.data())
def test_no_cut_ends_well(format: Format, data: st.DataObject) -> None:
    _, stream = written(format, data.draw(fake_replies(format)))
    last = stream.rstrip(b"\r\n").removesuffix(UNREAD.get(format, b"")).rstrip(b"\r\n")
    at = data.draw(st.integers(0, len(last) - 1))
    with pytest.raises(UpstreamError) as caught:
        READERS[format].read_stream(stream[:at])
    assert caught.value.reason in BROKEN
