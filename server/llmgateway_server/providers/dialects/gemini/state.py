"""What goes back to Google unchanged: the opaque state beside a part. See `gemini` for its format."""

from __future__ import annotations

from typing import Any

import msgspec

from llmgateway_server.core.messages import ProviderState
from llmgateway_server.providers.dialects.dialect import UNREADABLE

VENDOR = "google"
WITH_PARTS = ("text", "functionCall", "functionResponse", "inlineData", "fileData")
"""What the state of an empty text cannot hold: whoever looks at parts would not see it."""


class State(msgspec.Struct):
    """What stands beside a part and goes back; absent is None."""

    signature: str | None = None
    id: str | None = None
    part: dict[str, msgspec.Raw] | None = None


_decode = msgspec.json.Decoder(State).decode
_decode_any = msgspec.json.Decoder().decode


def state_of(*, signature: str = "", call_id: str = "", grounding: str = "") -> ProviderState | None:
    """Returns the state beside text, a tool call or a medium; None where there is nothing to keep.

    Args:
        signature: the part's.
        call_id: the vendor's own.
        grounding: JSON text.
    """
    said: dict[str, Any] = {"signature": signature, "id": call_id}
    fields = {name: value for name, value in said.items() if value}
    if grounding:
        fields["grounding"] = msgspec.Raw(grounding.encode())
    return ProviderState(VENDOR, msgspec.json.encode(fields)) if fields else None


def reasoning_state(signature: str) -> ProviderState:
    """Returns the state beside reasoning, which says at least whose it is."""
    return state_of(signature=signature) or ProviderState(VENDOR, b"{}")


def part_state(part: str) -> ProviderState:
    """Returns the state for a whole part as JSON text."""
    return ProviderState(VENDOR, f'{{"part":{part}}}'.encode())


def read_state(state: ProviderState | None) -> State | None:
    """Returns what stands beside a part; None where it is absent, another vendor's, or nothing that may stand there."""
    if state is None or state.vendor != VENDOR:
        return None
    try:
        state.data.decode()
        read = _decode(state.data)
        if read.part is not None and any(_is_said(read.part.get(name)) for name in WITH_PARTS):
            return None
    except UNREADABLE:
        return None
    return read


def _is_said(value: Any) -> bool:
    return value is not None and _decode_any(value) is not None
