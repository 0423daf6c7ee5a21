"""Writes a reply as Meta's models do behind Bedrock's InvokeModel: one JSON object, or chunks of the same fields.

Source: the user guide of Amazon Bedrock, "Meta Llama models", and recorded traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmgateway_server.testing.fake_provider import bedrock_converse
from llmgateway_server.testing.fake_provider.bedrock_converse_frames import exception
from llmgateway_server.testing.fake_provider.bedrock_invoke import chunks, text_of
from llmgateway_server.testing.fake_provider.frames import compact, pieces
from llmgateway_server.testing.fake_provider.reply import FakeError, FakeReply

Json = dict[str, Any]


def body(reply: FakeReply, _request: Mapping[str, Any]) -> Json:
    """Returns a unary answer to a decoded request."""
    return {
        "generation": text_of(reply),
        "prompt_token_count": reply.usage.input_tokens,
        "generation_token_count": reply.usage.output_tokens,
        "stop_reason": _stop_reason(reply),
    }


def frames(reply: FakeReply, _request: Mapping[str, Any]) -> list[bytes]:
    """Returns a streamed answer. Each character counts as a token, until the end tells what the script says."""
    said = pieces(text_of(reply), reply.delta_chars)
    counted, tokens = 0, []
    for piece in said:
        counted += len(piece)
        tokens.append(counted)
    events = [
        {
            "generation": piece,
            "prompt_token_count": None if index else reply.usage.input_tokens,
            "generation_token_count": count,
            "stop_reason": None,
        }
        for index, (piece, count) in enumerate(zip(said, tokens, strict=True))
    ]
    last = {
        "generation": "",
        "prompt_token_count": None if events else reply.usage.input_tokens,
        "generation_token_count": reply.usage.output_tokens,
        "stop_reason": _stop_reason(reply),
    }
    return chunks([*events, last], reply)


def error_frames(error: FakeError, request: Mapping[str, Any], _request_id: str = "") -> list[bytes]:
    """Returns a stream that begins as `error.reply` does and fails after `error.in_stream_after` frames."""
    return [*frames(error.reply, request)[: error.in_stream_after or 0], failure(error)]


def failure(error: FakeError) -> bytes:
    """Returns the exception of the service that ends a stream."""
    name = bedrock_converse.error_headers(error)["x-amzn-errortype"].partition(":")[0]
    return exception(name[0].lower() + name[1:], compact(bedrock_converse.error_body(error)).encode())


def _stop_reason(reply: FakeReply) -> str:
    return "length" if reply.ends == "length" else "stop"
