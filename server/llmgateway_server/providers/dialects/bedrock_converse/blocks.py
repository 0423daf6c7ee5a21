"""How content blocks become parts of a reply, the same whether they come whole or in pieces. See `bedrock_converse`.

In a stream only calls of tools have a beginning of their own; any other block begins with its first piece, and is of
the kind of that piece. Blocks follow one another, but nothing is lost where they do not.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from llmgateway_server.core.events import PartKind
from llmgateway_server.providers.dialects.bedrock_converse.answer import (
    EMPTY,
    Block,
    Cited,
    Reasoning,
    ToolUse,
    arguments_of,
    citation_of,
    decode_block,
    fields_of,
    fields_of_delta,
    is_json,
    joined_base64,
    piece_of,
    said,
    tidy,
    word,
)
from llmgateway_server.providers.dialects.bedrock_converse.state import (
    SERVER_TOOL,
    block_state,
    citations_state,
    reasoning_state,
)
from llmgateway_server.providers.dialects.parts import PartsBuilder


class _OpenBlock(Protocol):
    """A block that has begun."""

    def add(self, piece: Block, event: bytes) -> None:
        """Adds a piece; `event` is what it was read from."""
        ...

    def end(self) -> None:
        """Ends the block's part."""
        ...


class Blocks:
    """Adds content blocks to a reply's parts.

    Args:
        parts: of the reply.
        call_id: of the call, for the ids of tool calls that come without one.
    """

    def __init__(self, parts: PartsBuilder, call_id: str) -> None:
        self._parts = parts
        self._call_id = call_id
        self._count = 0
        self._open: dict[object, _OpenBlock] = {}

    def whole(self, raw: msgspec.Raw) -> None:
        """Adds a block that came whole.

        Raises:
            UpstreamError: UPSTREAM_MALFORMED, it cannot be read; so for the other methods.
        """
        block = decode_block(raw)
        if block.citations_content is not None:
            self._cited(block.citations_content)
            return
        (self._known(block, whole=True) or _Opaque(self._parts, fields_of(raw))).end()

    def begin(self, index: object, raw: msgspec.Raw) -> None:
        """Begins a block that tells of itself first."""
        self.end(index)
        self._open[index] = self._known(decode_block(raw)) or _Opaque(self._parts, fields_of(raw))

    def add(self, index: object, piece: Block, event: bytes) -> None:
        """Adds a piece to a block, and begins the block if it is not open; `event` is what the piece was read from."""
        if (block := self._open.get(index)) is not None:
            block.add(piece, event)
            return
        self.close()
        self._open[index] = self._known(piece) or _Opaque(self._parts, fields_of_delta(event))

    def end(self, index: object) -> None:
        """Ends a block, if it is open."""
        if (block := self._open.pop(index, None)) is not None:
            block.end()

    def close(self) -> None:
        """Ends every open block."""
        for index in list(self._open):
            self.end(index)

    def _known(self, block: Block, *, whole: bool = False) -> _OpenBlock | None:
        """Begins a block of a kind that has a part of its own; None for others."""
        self._count += 1
        if block.reasoning_content is not None:
            return _Reasoning(self._parts, block.reasoning_content)
        if block.tool_use is not None and block.tool_use.type != SERVER_TOOL:
            spare_id = f"call_{self._call_id}_{self._count}"
            return _ToolUse(self._parts, block.tool_use, self._count, spare_id, whole=whole)
        if block.text is not None or bytes(block.citation):
            return _Text(self._parts, block)
        return None

    def _cited(self, cited: Cited) -> None:
        text = _Text(self._parts, Block(text="".join(said(piece.text) for piece in cited.content or ())))
        for citation in cited.citations or ():
            text.cite(citation)
        text.end()


class _Text:
    """Text, and what it rests on."""

    def __init__(self, parts: PartsBuilder, piece: Block) -> None:
        self._parts = parts
        self._written: list[str] = []
        self.add(piece, b"")

    def add(self, piece: Block, event: bytes) -> None:
        self._parts.flow(PartKind.TEXT, said(piece.text))
        if bytes(piece.citation) not in EMPTY:
            self.cite(piece.citation)

    def cite(self, citation: msgspec.Raw) -> None:
        """Adds a source."""
        self._written.append(tidy(citation))

    def end(self) -> None:
        if self._written:
            citations = tuple(citation_of(written) for written in self._written)
            self._parts.end_flow_with(PartKind.TEXT, citations_state(self._written), citations)
        else:
            self._parts.end_flow()


class _Reasoning:
    """Reasoning with its signature, or redacted."""

    def __init__(self, parts: PartsBuilder, reasoning: Reasoning) -> None:
        self._parts = parts
        self._signature: list[str] = []
        self._redacted: list[str] = []
        if reasoning.reasoning_text is not None:
            self._say(reasoning.reasoning_text.text, reasoning.reasoning_text.signature)
        self._read(reasoning)

    def add(self, piece: Block, event: bytes) -> None:
        if piece.reasoning_content is not None:
            self._read(piece.reasoning_content)

    def end(self) -> None:
        redacted, signature = joined_base64(self._redacted), "".join(self._signature)
        if redacted:
            self._parts.end_flow()
            self._parts.end_flow_with(PartKind.REASONING, reasoning_state(redacted), redacted=True)
        elif signature:
            self._parts.end_flow_with(PartKind.REASONING, reasoning_state(signature))
        else:
            self._parts.end_flow()

    def _read(self, reasoning: Reasoning) -> None:
        self._say(reasoning.text, reasoning.signature)
        if redacted := said(reasoning.redacted_content):
            self._redacted.append(redacted)

    def _say(self, text: object, signature: object) -> None:
        self._parts.flow(PartKind.REASONING, said(text))
        if signed := said(signature):
            self._signature.append(signed)


class _ToolUse:
    """A call of a tool of the caller. Its input comes in pieces or at once; none at all is an empty object."""

    def __init__(self, parts: PartsBuilder, call: ToolUse, key: int, spare_id: str, *, whole: bool) -> None:
        self._parts = parts
        self._key = key
        self._begun = False
        parts.tool(key, word(call.tool_use_id) or spare_id, word(call.name), "")
        self._say(arguments_of(call.input) if whole else piece_of(call.input))

    def add(self, piece: Block, event: bytes) -> None:
        if piece.tool_use is not None:
            self._say(piece_of(piece.tool_use.input))

    def end(self) -> None:
        if not self._begun:
            self._say("{}")
        self._parts.end_tool(self._key)

    def _say(self, arguments: str) -> None:
        if arguments:
            self._begun = True
            self._parts.tool(self._key, "", "", arguments)


class _Opaque:
    """A block without a part of its own: what the model's vendor runs and finds by itself, and what is not known yet.

    Of such blocks a stream tells first what they are, then their input as text, or their content in lists.
    """

    def __init__(self, parts: PartsBuilder, fields: dict[str, msgspec.Raw]) -> None:
        self._parts = parts
        self._fields = {name: value for name, value in fields.items() if bytes(value) not in EMPTY}
        self._input: list[str] = []
        self._content: list[msgspec.Raw] = []

    def add(self, piece: Block, event: bytes) -> None:
        if piece.tool_use is not None:
            self._input.append(piece_of(piece.tool_use.input))
            return
        for name, value in fields_of_delta(event).items():
            if name in self._fields and bytes(value)[:1] == b"[":
                self._content += msgspec.json.decode(value, type=list[msgspec.Raw])
            elif bytes(value)[:1] == b"{" and bytes(self._fields.get(name, b""))[:1] == b"{":
                self._fields[name] = msgspec.Raw(msgspec.json.encode(fields_of(self._fields[name]) | fields_of(value)))
            else:
                self._fields[name] = value

    def end(self) -> None:
        written = "".join(self._input)
        if written and is_json(written):  # what broke off cannot go back
            self._fill("input", msgspec.Raw(written.encode()))
        if self._content:
            self._fill("content", msgspec.Raw(msgspec.json.encode(self._content)))
        if self._fields:
            block = tidy(msgspec.Raw(msgspec.json.encode(self._fields)))
            self._parts.end_flow_with(PartKind.TEXT, block_state(block))

    def _fill(self, name: str, value: msgspec.Raw) -> None:
        """Puts what came in pieces into the object that tells what the block is."""
        for key, told in self._fields.items():
            if bytes(told)[:1] == b"{":
                self._fields[key] = msgspec.Raw(msgspec.json.encode(fields_of(told) | {name: value}))
