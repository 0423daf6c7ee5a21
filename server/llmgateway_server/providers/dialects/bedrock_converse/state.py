"""What goes back to Bedrock unchanged: the opaque state beside a part. See `bedrock_converse` for its format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from llmgateway_server.core.messages import ProviderState
from llmgateway_server.providers.dialects.dialect import UNREADABLE

VENDOR = "bedrock"
SERVER_TOOL = "server_tool_use"
"""Type of a call, and of a result, of a tool that the model's vendor runs."""
WITH_PARTS = frozenset({"text", "image", "document", "video", "audio", "reasoningContent", "citationsContent"})
"""Blocks that the state of an empty text cannot hold: what they say would pass by whoever looks at parts."""


class TextState(msgspec.Struct):
    """What may stand beside text; absent is None."""

    citations: list[msgspec.Raw] | None = None
    block: dict[str, Any] | None = None


_decode_text_state = msgspec.json.Decoder(TextState).decode


def reasoning_state(opaque: str) -> ProviderState | None:
    """Returns the state for a signature or for redacted reasoning; None for an empty one."""
    return ProviderState(VENDOR, opaque.encode()) if opaque else None


def citations_state(citations: Sequence[str]) -> ProviderState:
    """Returns the state for the citations of a text, each as JSON text."""
    return ProviderState(VENDOR, f'{{"citations":[{",".join(citations)}]}}'.encode())


def block_state(block: str) -> ProviderState:
    """Returns the state for a content block as JSON text."""
    return ProviderState(VENDOR, f'{{"block":{block}}}'.encode())


def read_reasoning_state(state: ProviderState | None) -> str | None:
    """Returns the signature or the redacted content; None where it is absent, empty, another vendor's or no text."""
    if state is None or state.vendor != VENDOR:
        return None
    try:
        return state.data.decode() or None
    except UnicodeDecodeError:
        return None


def read_text_state(state: ProviderState) -> TextState | None:
    """Returns the state beside a text; None where it is another vendor's, or nothing that may stand there."""
    if state.vendor != VENDOR:
        return None
    try:
        state.data.decode()
        read = _decode_text_state(state.data)
    except UNREADABLE:
        return None
    return None if read.block is not None and _speaks(read.block) else read


def _speaks(block: dict[str, Any]) -> bool:
    """Tells whether a block is, or answers, something that has a part of its own."""
    if not WITH_PARTS.isdisjoint(block):
        return True
    call, result = block.get("toolUse"), block.get("toolResult")
    if call is not None:
        return not (isinstance(call, dict) and call.get("type") == SERVER_TOOL)
    return result is not None and not (isinstance(result, dict) and result.get("type"))
