"""Arguments of a tool call that come in pieces, each with the place where it belongs. See `gemini`.

Nothing here asks for them; accounts may stand in front of something that does. Each piece names its place as a JSON
path (RFC 9535, of which the vendor uses names and indexes only) and holds a value, or more of a text.

Source: `PartialArg` of the vendor's own client.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import msgspec

from llmgateway_server.providers.dialects.dialect import UNREADABLE
from llmgateway_server.providers.dialects.gemini.answer import ABSENT, FunctionCall, word
from llmgateway_server.providers.faults import malformed

STEP = re.compile(
    r"""\.(?P<name>[^.\[\]]+)|\[(?P<index>\d{1,6})\]|\[(?P<q>['"])(?P<quoted>[^'"\\]+)(?P=q)\]""", re.ASCII
)
MAX_STEPS = 64

Path = tuple[str | int, ...]


class PartialArg(msgspec.Struct, rename="camel"):
    """One piece."""

    json_path: str
    string_value: str | None = None
    number_value: int | float | None = None
    bool_value: bool | None = None


_decode = msgspec.json.Decoder(PartialArg).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class PartialCall:
    """A call whose arguments are not all there yet."""

    def __init__(self) -> None:
        self.id = self.name = self.signature = ""
        self._root: dict[str, object] = {}

    def add(self, call: FunctionCall, signature: str) -> None:
        """Adds what a piece of the call says.

        Raises:
            UpstreamError: UPSTREAM_MALFORMED, it cannot be read, or belongs to no place.
        """
        self.id = self.id or word(call.id)
        self.name = self.name or word(call.name)
        self.signature = self.signature or signature
        if bytes(call.args) not in ABSENT:
            try:
                self._root |= _decode_object(bytes(call.args))
            except UNREADABLE as error:
                raise malformed("arguments are not an object") from error
        for raw in call.partial_args or ():
            try:
                piece = _decode(raw)
            except UNREADABLE as error:
                raise malformed("piece of arguments cannot be read") from error
            self._put(_path(piece.json_path), piece)

    def arguments_json(self) -> str:
        """Returns all arguments as JSON text."""
        return msgspec.json.encode(self._root).decode()

    def _put(self, path: Path, piece: PartialArg) -> None:
        holder: object = self._root
        for step, following in itertools.pairwise(path):
            inner = _at(holder, step)
            if inner is None:
                inner = [] if isinstance(following, int) else {}
                _set(holder, step, inner)
            holder = inner
        if piece.string_value is not None:
            before = _at(holder, path[-1])
            _set(holder, path[-1], (before if isinstance(before, str) else "") + piece.string_value)
        else:
            _set(holder, path[-1], piece.number_value if piece.number_value is not None else piece.bool_value)


def _path(written: str) -> Path:
    steps: list[str | int] = []
    at = 1
    while written.startswith("$") and at < len(written) and len(steps) < MAX_STEPS:
        found = STEP.match(written, at)
        if found is None:
            break
        steps.append(int(found["index"]) if found["index"] else found["name"] or found["quoted"])
        at = found.end()
    if not steps or at != len(written) or isinstance(steps[0], int):
        raise malformed("place of arguments cannot be read")
    return tuple(steps)


def _at(holder: object, step: str | int) -> object:
    if isinstance(holder, dict) and isinstance(step, str):
        return holder.get(step)
    if isinstance(holder, list) and isinstance(step, int):
        return holder[step] if step < len(holder) else None
    raise malformed("place of arguments is taken by something else")


def _set(holder: object, step: str | int, value: object) -> None:
    if isinstance(holder, dict) and isinstance(step, str):
        holder[step] = value
    elif isinstance(holder, list) and isinstance(step, int) and step <= len(holder):
        holder[step : step + 1] = [value]
    else:
        raise malformed("place of arguments is taken by something else")
