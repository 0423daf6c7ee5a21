"""How parts of an answer become parts of a reply, the same whether they come whole or in pieces. See `gemini`.

Text without a signature goes on from chunk to chunk. A part with one stands for itself, or it could not go back as it
came.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import msgspec

from llmgateway_server.core.events import Logprob, PartKind
from llmgateway_server.core.messages import ProviderState
from llmgateway_server.providers.dialects.gemini.answer import (
    ABSENT,
    Blob,
    FunctionCall,
    decode_part,
    is_empty,
    said,
    tidy,
    word,
)
from llmgateway_server.providers.dialects.gemini.grounding import citations_of
from llmgateway_server.providers.dialects.gemini.partial_args import PartialCall
from llmgateway_server.providers.dialects.gemini.state import part_state, reasoning_state, state_of
from llmgateway_server.providers.dialects.parts import PartsBuilder
from llmgateway_server.providers.faults import malformed


class Pieces:
    """Adds parts of an answer to a reply's.

    Args:
        parts: of the reply.
        call_id: of the call, for the ids of tool calls that come without one.
    """

    def __init__(self, parts: PartsBuilder, call_id: str) -> None:
        self._parts = parts
        self._call_id = call_id
        self._calls = 0
        self._open: PartKind | None = None
        """The kind of the text that goes on."""
        self._signature = ""
        """Of the open text, which nothing can be added to then."""
        self._text: list[str] = []
        """What the open text says so far."""
        self._partial: PartialCall | None = None

    def add(self, raws: list[msgspec.Raw], logprobs: tuple[Logprob, ...]) -> None:
        """Adds the parts of a chunk, with the log probabilities of its tokens.

        Raises:
            UpstreamError: UPSTREAM_MALFORMED, one cannot be read.
        """
        for raw in raws:
            part = decode_part(raw)
            signature = said(part.thought_signature)
            if part.function_call is not None:
                self._call(part.function_call, signature)
            elif part.inline_data is not None and part.thought is not True:
                self._medium(part.inline_data, signature)
            elif part.text is not None and part.inline_data is None:
                kind = PartKind.REASONING if part.thought is True else PartKind.TEXT
                self._say(kind, said(part.text), signature, logprobs if kind is PartKind.TEXT else ())
                logprobs = () if kind is PartKind.TEXT else logprobs
            elif not is_empty(raw):
                self._end_text()
                self._parts.end_flow_with(PartKind.TEXT, part_state(tidy(raw)))

    def finish(self, grounding: msgspec.Raw, sources: dict[str, Any], repeated: list[dict[str, Any]]) -> None:
        """Ends the open text with its sources; where none is open, an empty one has them.

        Raises:
            UpstreamError: UPSTREAM_MALFORMED, a tool call's arguments are not all there.
        """
        if self._partial is not None:
            raise malformed("answer that ends inside a tool call")
        if self._open is not PartKind.TEXT:
            self._end_text()
        citations = citations_of(sources, repeated, "".join(self._text))
        written = tidy(grounding) if sources else ""
        if citations or written:
            state = state_of(signature=self._signature, grounding=written)
            self._parts.end_flow_with(PartKind.TEXT, state, citations)
        else:
            self._end_text()

    def _say(self, kind: PartKind, text: str, signature: str, logprobs: tuple[Logprob, ...]) -> None:
        if signature or self._signature or self._open is not kind:
            if not (text or signature or logprobs):
                return
            self._end_text()
        self._parts.flow(kind, text, logprobs)
        self._open, self._signature = kind, signature
        self._text.append(text)

    def _end_text(self) -> None:
        """Ends the open text with what stands beside it; the next one begins another part."""
        state: ProviderState | None = state_of(signature=self._signature)
        if self._open is PartKind.REASONING:
            redacted = not "".join(self._text)
            self._parts.end_flow_with(PartKind.REASONING, reasoning_state(self._signature), redacted=redacted)
        elif state is not None:
            self._parts.end_flow_with(PartKind.TEXT, state)
        else:
            self._parts.end_flow()
        self._open, self._signature = None, ""
        self._text.clear()

    def _call(self, call: FunctionCall, signature: str) -> None:
        """Adds a tool call, or collects a piece of one until it is whole."""
        if self._partial is not None or call.will_continue is True or call.partial_args is not None:
            self._partial = self._partial or PartialCall()
            self._partial.add(call, signature)
            if call.will_continue is not True:
                partial, self._partial = self._partial, None
                self._whole_call(partial.id, partial.name, partial.arguments_json(), partial.signature)
            return
        arguments = "{}" if bytes(call.args) in ABSENT else tidy(call.args)
        self._whole_call(word(call.id), word(call.name), arguments, signature)

    def _whole_call(self, given_id: str, name: str, arguments_json: str, signature: str) -> None:
        self._end_text()
        self._calls += 1
        self._parts.tool(self._calls, given_id or f"call_{self._call_id}_{self._calls}", name, arguments_json)
        self._parts.end_tool(self._calls, state_of(signature=signature, call_id=given_id))

    def _medium(self, blob: Blob, signature: str) -> None:
        self._end_text()
        written = said(blob.data)
        try:
            data = b64decode(written.translate(_USUAL), validate=True)
        except ValueError as error:
            raise malformed("medium is not base64") from error
        self._parts.medium(word(blob.mime_type), data, state_of(signature=signature))


_USUAL = str.maketrans("-_", "+/")
"""From the alphabet for addresses (RFC 4648 §5) to the usual one: both are met."""
