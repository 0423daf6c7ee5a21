"""Writes a reply as the older text models do behind Bedrock's InvokeModel: each family in names of its own.

Source: the user guide of Amazon Bedrock, "Inference request parameters and response fields", and recorded traffic.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llmgateway_server.testing.fake_provider.bedrock_invoke import chunks, text_of
from llmgateway_server.testing.fake_provider.bedrock_llama import failure
from llmgateway_server.testing.fake_provider.frames import pieces
from llmgateway_server.testing.fake_provider.reply import FakeError, FakeReply

Json = dict[str, Any]


@dataclass(slots=True, frozen=True)
class Family:
    """Models that answer alike."""

    models: str
    """Pattern of their ids."""
    stop: str
    length: str
    whole: Callable[[str, str, FakeReply], Json]
    """Given the text and the stop reason."""
    piece: Callable[[str, str | None, FakeReply], Json]
    """Given a piece of the text, and the stop reason behind the last one."""


def body(reply: FakeReply, request: Mapping[str, Any]) -> Json:
    """Returns a unary answer to a decoded request."""
    family = _family_of(request)
    return family.whole(text_of(reply), _stop_reason(family, reply), reply)


def frames(reply: FakeReply, request: Mapping[str, Any]) -> list[bytes]:
    """Returns a streamed answer; the last chunk has no text but the stop reason."""
    family = _family_of(request)
    said = [family.piece(piece, None, reply) for piece in pieces(text_of(reply), reply.delta_chars)]
    return chunks([*said, family.piece("", _stop_reason(family, reply), reply)], reply)


def error_frames(error: FakeError, request: Mapping[str, Any], _request_id: str = "") -> list[bytes]:
    """Returns a stream that begins as `error.reply` does and fails after `error.in_stream_after` frames."""
    return [*frames(error.reply, request)[: error.in_stream_after or 0], failure(error)]


def _family_of(request: Mapping[str, Any]) -> Family:
    return next(family for family in FAMILIES if re.search(family.models, str(request["model"])))


def _stop_reason(family: Family, reply: FakeReply) -> str:
    return family.length if reply.ends == "length" else family.stop


# --- families ----------------------------------------------------------------------------------------------------


def _claude(text: str, stop: str | None, _reply: FakeReply) -> Json:
    by = "\n\nHuman:" if stop == "stop_sequence" else None
    return {"type": "completion", "completion": text, "stop_reason": stop, "stop": by}


def _titan(text: str, stop: str, reply: FakeReply) -> Json:
    result = {"tokenCount": reply.usage.output_tokens, "outputText": text, "completionReason": stop}
    return {"inputTextTokenCount": reply.usage.input_tokens, "results": [result]}


def _titan_piece(text: str, stop: str | None, reply: FakeReply) -> Json:
    return {
        "outputText": text,
        "index": 0,
        "totalOutputTextTokenCount": reply.usage.output_tokens if stop else None,
        "completionReason": stop,
        "inputTextTokenCount": reply.usage.input_tokens,
    }


def _command(text: str, stop: str, reply: FakeReply) -> Json:
    return {"id": reply.response_id, "generations": [{"id": "g", "text": text, "finish_reason": stop}], "prompt": ""}


def _command_piece(text: str, stop: str | None, _reply: FakeReply) -> Json:
    return {"is_finished": True, "finish_reason": stop} if stop else {"is_finished": False, "text": text}


def _command_r(text: str, stop: str, reply: FakeReply) -> Json:
    return {"response_id": reply.response_id, "text": text, "finish_reason": stop, "chat_history": []}


def _command_r_piece(text: str, stop: str | None, reply: FakeReply) -> Json:
    if stop is None:
        return {"event_type": "text-generation", "is_finished": False, "text": text}
    whole = _command_r(text_of(reply), stop, reply)
    return {"event_type": "stream-end", "is_finished": True, "finish_reason": stop, "response": whole}


def _jurassic(text: str, stop: str, reply: FakeReply) -> Json:
    tokens: list[Json] = [{"generatedToken": {}}] * reply.usage.output_tokens
    return {
        "id": 1,
        "prompt": {"text": "", "tokens": [{"generatedToken": {}}] * reply.usage.input_tokens},
        "completions": [{"data": {"text": text, "tokens": tokens}, "finishReason": {"reason": stop}}],
    }


def _jurassic_piece(text: str, stop: str | None, reply: FakeReply) -> Json:  # pragma: no cover: it answers whole only
    return _jurassic(text, stop or "", reply)


def _mistral(text: str, stop: str | None, _reply: FakeReply) -> Json:
    return {"outputs": [{"text": text, "stop_reason": stop}]}


def _deepseek(text: str, stop: str | None, _reply: FakeReply) -> Json:
    return {"choices": [{"text": text, "stop_reason": stop}]}


FAMILIES = (
    Family(r"anthropic\.", "stop_sequence", "max_tokens", _claude, _claude),
    Family(r"amazon\.titan", "FINISH", "LENGTH", _titan, _titan_piece),
    Family(r"cohere\.command-r", "COMPLETE", "MAX_TOKENS", _command_r, _command_r_piece),
    Family(r"cohere\.", "COMPLETE", "MAX_TOKENS", _command, _command_piece),
    Family(r"ai21\.", "endoftext", "length", _jurassic, _jurassic_piece),
    Family(r"mistral\.", "stop", "length", _mistral, _mistral),
    Family(r"deepseek\.", "stop", "length", _deepseek, _deepseek),
)
