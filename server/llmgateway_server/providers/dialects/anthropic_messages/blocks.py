"""How content blocks become parts of a reply, the same whether they come whole or in pieces. See `anthropic_messages`.

Blocks follow one another: the beginning of one is the end of the one before it.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from llmgateway_server.core.events import PartKind
from llmgateway_server.providers.dialects.anthropic_messages.answer import (
    Block,
    Delta,
    citation_of,
    citations_in,
    decode_block,
    fields_of,
    fields_of_delta,
    is_json,
    joined,
    said,
    tidy,
    word,
)
from llmgateway_server.providers.dialects.anthropic_messages.state import (
    block_state,
    citations_state,
    container_state,
    reasoning_state,
)
from llmgateway_server.providers.dialects.parts import PartsBuilder
from llmgateway_server.providers.faults import malformed


class _OpenBlock(Protocol):
    """A block that has begun."""

    def add(self, delta: Delta, event: bytes) -> None:
        """Adds a piece; `event` is what the delta was read from."""
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
        self._index: object = None
        self._open: _OpenBlock | None = None

    def whole(self, raw: msgspec.Raw) -> None:
        """Adds a block that came whole."""
        self.begin(None, raw)
        self.end(None)

    def begin(self, index: object, raw: msgspec.Raw) -> None:
        """Begins a block with what is told of it at once.

        Raises:
            UpstreamError: UPSTREAM_MALFORMED, it cannot be read; so for the other methods.
        """
        self.end(self._index)
        block = decode_block(raw)
        self._index = index
        self._count += 1
        match block.type:
            case "text":
                self._open = _Text(self._parts, block)
            case "thinking":
                self._open = _Thinking(self._parts, block)
            case "redacted_thinking":
                self._open = _Redacted(self._parts, block)
            case "tool_use":
                self._open = _ToolUse(self._parts, block, self._count, f"call_{self._call_id}_{self._count}")
            case _:
                self._open = _Opaque(self._parts, raw)

    def add(self, index: object, delta: Delta, event: bytes) -> None:
        """Adds a piece to the open block."""
        if self._open is None or index != self._index:
            raise malformed("delta of a block that is not open")
        self._open.add(delta, event)

    def end(self, index: object) -> None:
        """Ends the open block; another one has ended before."""
        if self._open is not None and index == self._index:
            self._open.end()
            self._open = None

    def close(self, container: msgspec.Raw) -> None:
        """Ends the open block, and tells of the container in which code was run, if there was one."""
        self.end(self._index)
        if bytes(container)[:1] == b"{":
            self._parts.end_flow_with(PartKind.TEXT, container_state(tidy(container)))


class _Text:
    """Text, and what it rests on."""

    def __init__(self, parts: PartsBuilder, block: Block) -> None:
        self._parts = parts
        self._written = citations_in(block.citations)
        self._citations = [citation_of(written) for written in self._written]
        parts.flow(PartKind.TEXT, said(block.text))

    def add(self, delta: Delta, event: bytes) -> None:
        if delta.type == "text_delta":
            self._parts.flow(PartKind.TEXT, said(delta.text))
        elif delta.type == "citations_delta" and bytes(delta.citation):
            written = tidy(delta.citation)
            self._written.append(written)
            self._citations.append(citation_of(written))

    def end(self) -> None:
        if self._citations:
            self._parts.end_flow_with(PartKind.TEXT, citations_state(self._written), tuple(self._citations))
        else:
            self._parts.end_flow()


class _Thinking:
    """Reasoning and its signature; the text may be withheld."""

    def __init__(self, parts: PartsBuilder, block: Block) -> None:
        self._parts = parts
        self._signature = said(block.signature)
        parts.flow(PartKind.REASONING, said(block.thinking))

    def add(self, delta: Delta, event: bytes) -> None:
        if delta.type == "thinking_delta":
            self._parts.flow(PartKind.REASONING, said(delta.thinking))
        elif delta.type == "signature_delta":
            self._signature = said(delta.signature)

    def end(self) -> None:
        if self._signature:
            self._parts.end_flow_with(PartKind.REASONING, reasoning_state(self._signature))
        else:
            self._parts.end_flow()


class _Redacted:
    """Reasoning that is encrypted; it comes whole."""

    def __init__(self, parts: PartsBuilder, block: Block) -> None:
        self._parts = parts
        self._state = reasoning_state(said(block.data))

    def add(self, delta: Delta, event: bytes) -> None:
        pass

    def end(self) -> None:
        if self._state is not None:
            self._parts.end_flow_with(PartKind.REASONING, self._state, redacted=True)


class _ToolUse:
    """A call of a tool of the caller. Its input comes in pieces or at once; none at all is an empty object."""

    def __init__(self, parts: PartsBuilder, block: Block, key: int, spare_id: str) -> None:
        self._parts = parts
        self._key = key
        self._input = "{}" if bytes(block.input) in (b"", b"null") else tidy(block.input)
        self._begun = False
        parts.tool(key, word(block.id) or spare_id, word(block.name), "")

    def add(self, delta: Delta, event: bytes) -> None:
        if delta.type == "input_json_delta" and (piece := said(delta.partial_json)):
            self._begun = True
            self._parts.tool(self._key, "", "", piece)

    def end(self) -> None:
        if not self._begun:
            self._parts.tool(self._key, "", "", self._input)
        self._parts.end_tool(self._key)


class _Opaque:
    """A block without a part of its own: what the vendor's own tools do and find, and what is not known yet."""

    def __init__(self, parts: PartsBuilder, raw: msgspec.Raw) -> None:
        self._parts = parts
        self._fields = fields_of(raw)
        self._input: list[str] = []

    def add(self, delta: Delta, event: bytes) -> None:
        if delta.type == "input_json_delta":
            self._input.append(said(delta.partial_json))
            return
        for name, value in fields_of_delta(event).items():
            self._fields[name] = joined(self._fields.get(name), value)

    def end(self) -> None:
        written = "".join(self._input)
        if written and is_json(written):  # what broke off cannot go back
            self._fields["input"] = msgspec.Raw(written.encode())
        block = tidy(msgspec.Raw(msgspec.json.encode(self._fields)))
        self._parts.end_flow_with(PartKind.TEXT, block_state(block))
