"""What goes back to OpenAI's Responses unchanged: the state beside a part. See `openai_responses` for its format."""

from __future__ import annotations

from typing import Any

import msgspec

from llmgateway_server.core.messages import ProviderState
from llmgateway_server.providers.dialects.dialect import UNREADABLE

VENDOR = "openai"
WITH_PARTS = frozenset({"message", "function_call", "function_call_output", "reasoning", "item_reference"})
"""Items that the state of an empty text cannot hold: they have parts of their own, or name what the vendor stores."""


class State(msgspec.Struct, omit_defaults=True):
    """See the package; empty is absent."""

    id: str = ""
    phase: str = ""
    summary: list[str] | None = None
    content: list[str] | None = None
    encrypted_content: str = ""
    item: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    def written(self) -> ProviderState:
        """Returns the state as it stands beside a part."""
        return ProviderState(VENDOR, msgspec.json.encode(self))

    def reasoning_item(self) -> dict[str, Any]:
        """Returns the item that the state beside reasoning stands for."""
        item: dict[str, Any] = {"type": "reasoning"}
        if self.id:
            item["id"] = self.id
        item["summary"] = [{"type": "summary_text", "text": text} for text in self.summary or ()]
        if self.content:
            item["content"] = [{"type": "reasoning_text", "text": text} for text in self.content]
        if self.encrypted_content:
            item["encrypted_content"] = self.encrypted_content
        return item


class _Typed(msgspec.Struct):
    type: str


_decode_state = msgspec.json.Decoder(State).decode
_decode_typed = msgspec.json.Decoder(_Typed).decode


def read_state(state: ProviderState) -> State | None:
    """Returns the state of a part; None where it is not of this dialect, or an item that may not stand there."""
    if state.vendor != VENDOR:
        return None
    try:
        read = _decode_state(state.data)
        if isinstance(read.item, msgspec.Raw):
            bytes(read.item).decode()
            if _decode_typed(read.item).type in WITH_PARTS:
                return None
    except UNREADABLE:
        return None
    return read
