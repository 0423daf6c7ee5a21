"""Messages of Anthropic as other hosts give them: Bedrock wraps each event into a chunk of its own, Vertex does not.

Source: the user guide of Amazon Bedrock, "Anthropic Claude Messages API", and recorded traffic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llmgateway_server.testing.fake_provider import anthropic_messages, errors
from llmgateway_server.testing.fake_provider.bedrock_invoke import chunks
from llmgateway_server.testing.fake_provider.bedrock_llama import failure
from llmgateway_server.testing.fake_provider.reply import FakeError, FakeReply

Json = dict[str, Any]


def bedrock_frames(reply: FakeReply, request: Mapping[str, Any]) -> list[bytes]:
    """Returns a streamed answer of Bedrock; nobody pings there."""
    return chunks(_events(reply, request), reply)


def bedrock_error_frames(error: FakeError, request: Mapping[str, Any], _request_id: str = "") -> list[bytes]:
    """Returns a stream that begins as `error.reply` does and fails after `error.in_stream_after` frames.

    An error with a name of Anthropic's is an event of the model, others are exceptions of the service.
    """
    after = error.in_stream_after or 0
    if error.type.endswith("_error"):
        said = errors.body(error, "anthropic_messages")
        return chunks([*_events(error.reply, request)[:after], said], error.reply)
    return [*bedrock_frames(error.reply, request)[:after], failure(error)]


def _events(reply: FakeReply, request: Mapping[str, Any]) -> list[Json]:
    written = (frame for frame in anthropic_messages.frames(reply, request) if frame != anthropic_messages.PING)
    return [json.loads(frame.partition(b"data: ")[2]) for frame in written]
