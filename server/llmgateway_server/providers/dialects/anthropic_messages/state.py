"""What goes back to Anthropic unchanged: the opaque state beside a part. See `anthropic_messages` for its format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from llmgateway_server.core.messages import ProviderState
from llmgateway_server.providers.dialects.dialect import UNREADABLE

VENDOR = "anthropic"
WITH_PARTS = frozenset(
    {
        *("text", "image", "document", "search_result", "tool_use", "tool_result"),
        *("thinking", "redacted_thinking"),
    }
)
"""Blocks that the state of an empty text cannot hold: what they say would pass by whoever looks at parts."""


class TextState(msgspec.Struct):
    """What may stand beside text; absent is None."""

    citations: list[msgspec.Raw] | None = None
    block: dict[str, msgspec.Raw] | None = None
    container: dict[str, Any] | None = None


class _Typed(msgspec.Struct):
    type: str


_decode_text_state = msgspec.json.Decoder(TextState).decode
_decode_typed = msgspec.json.Decoder(_Typed).decode


def reasoning_state(opaque: str) -> ProviderState | None:
    """Returns the state for a signature or for the data of redacted reasoning; None for an empty one."""
    return ProviderState(VENDOR, opaque.encode()) if opaque else None


def citations_state(citations: Sequence[str]) -> ProviderState:
    """Returns the state for the citations of a text, each as JSON text."""
    return ProviderState(VENDOR, f'{{"citations":[{",".join(citations)}]}}'.encode())


def block_state(block: str) -> ProviderState:
    """Returns the state for a content block as JSON text."""
    return ProviderState(VENDOR, f'{{"block":{block}}}'.encode())


def container_state(container: str) -> ProviderState:
    """Returns the state for a container as JSON text."""
    return ProviderState(VENDOR, f'{{"container":{container}}}'.encode())


def read_reasoning_state(state: ProviderState | None) -> str | None:
    """Returns the signature or the data; None where it is absent, empty, another vendor's or no text."""
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
        if read.block is not None and _decode_typed(msgspec.json.encode(read.block)).type in WITH_PARTS:
            return None
    except UNREADABLE:
        return None
    return read
