"""What messages and their pieces say, put into the parts of a reply. See `openai_chat`."""

from __future__ import annotations

from collections.abc import Hashable

from llmgateway_server.core.events import Finished, FinishReason, PartKind, UsageSnapshot
from llmgateway_server.core.messages import Citation
from llmgateway_server.providers.dialects.dialect import UNREADABLE
from llmgateway_server.providers.dialects.openai_chat.answer import (
    Annotation,
    Function,
    Logprobs,
    Piece,
    ReportedUsage,
    Said,
    ToolCall,
    citations_of,
    logprobs_of,
)
from llmgateway_server.providers.dialects.openai_chat.details import ReasoningDetails
from llmgateway_server.providers.dialects.parts import PartsBuilder
from llmgateway_server.providers.faults import malformed

FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "eos": FinishReason.STOP,
    "eos_token": FinishReason.STOP,
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP_SEQUENCE,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "tool_use": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
    "refusal": FinishReason.REFUSAL,
    "error": FinishReason.ERROR,
    "insufficient_system_resource": FinishReason.ERROR,
}
"""OpenAI's words, and those of Together (`eos`), Hugging Face (`eos_token`), Mistral (`model_length`), DeepSeek
(`insufficient_system_resource`) and of makers whose own words are passed on."""


class Speech:
    """Adds what messages say to a reply's parts, and knows which piece belongs to which tool call.

    Args:
        parts: of the reply.
        call_id: of the call, for the ids of tool calls that come without one.
        state_vendor: whose opaque reasoning is kept; empty: nobody's.
    """

    def __init__(self, parts: PartsBuilder, call_id: str, state_vendor: str) -> None:
        self._parts = parts
        self._call_id = call_id
        self._details = ReasoningDetails(state_vendor)
        self._ids: dict[Hashable, str] = {}
        """Of the tool calls, by what tells them apart."""
        self._last_key: Hashable = None
        self._at_index: dict[int, str] = {}
        """Which call, by its id, an index stands for now."""
        self._annotations: list[Annotation] = []

    def add_words(self, said: Said, logprobs: Logprobs | float | None) -> None:
        """Adds what a message or a chunk says, calls aside; reasoning comes before the text that follows from it.

        It runs once per token.
        """
        parts = self._parts
        tokens = logprobs if logprobs is not None and isinstance(logprobs, Logprobs) else None
        if said.reasoning_details is not None:  # what is meant to be shown of them stands in `reasoning`
            self._details.add(said.reasoning_details)
        if reasoning := said.reasoning_content or said.reasoning:
            parts.flow(PartKind.REASONING, reasoning)
        content = said.content
        if content is not None:
            if isinstance(content, str):
                parts.flow(PartKind.TEXT, content, logprobs_of(tokens.content) if tokens else ())
            else:
                self._add_pieces(content)
        if said.refusal:
            parts.flow(PartKind.REFUSAL, said.refusal, logprobs_of(tokens.refusal) if tokens else ())
        if said.function_call is not None:
            self._tool("function_call", None, said.function_call)
        if said.annotations:
            self._annotations += said.annotations

    def add_calls(self, calls: list[ToolCall]) -> None:
        """Adds what a chunk brings of tool calls."""
        for position, call in enumerate(calls):
            self._tool(self._key(call, position), call.id, call.function)

    def add_whole_calls(self, calls: list[ToolCall]) -> None:
        """Adds the tool calls of a whole message: each is one of its own, whatever its index and id are."""
        for position, call in enumerate(calls):
            self._tool(position, call.id, call.function)

    def finish(
        self, native_reason: str | int | None, usage: ReportedUsage | None, pages: tuple[Citation, ...] = ()
    ) -> None:
        """Ends the reply: open parts, the provider's usage, the finish reason.

        Args:
            native_reason: the vendor's word.
            usage: as it was reported.
            pages: that the whole text rests on.
        """
        if native_reason is None:
            raise malformed("answer without a finish reason")
        parts = self._parts
        if (state := self._details.state()) is not None:
            parts.end_flow_with(PartKind.REASONING, state, redacted=True)
        if citations := (citations_of(self._annotations) or pages):
            parts.end_flow_with(PartKind.TEXT, citations=citations)
        parts.close()
        if usage is not None:
            parts.add(UsageSnapshot(usage.normalised()))
        word = str(native_reason)
        parts.add(Finished(parts.settled(FINISH_REASONS.get(word, FinishReason.UNSPECIFIED)), word))

    def _add_pieces(self, content: list[Piece]) -> None:
        for piece in content:
            if piece.thinking is not None:
                self._parts.flow(PartKind.REASONING, _text(piece.thinking))
            if piece.text is not None:
                self._parts.flow(PartKind.TEXT, piece.text)

    def _tool(self, key: Hashable, given_id: str | None, function: Function | None) -> None:
        call_id = self._ids.get(key)
        if call_id is None:
            taken = self._ids.values()
            call_id = given_id if given_id and given_id not in taken else f"call_{self._call_id}_{len(taken) + 1}"
            self._ids[key] = call_id
        self._last_key = key
        function = function or Function()
        try:
            arguments = function.arguments_json
        except UNREADABLE as error:
            raise malformed("arguments of a tool call that are no JSON") from error
        self._parts.tool(key, call_id, function.name or "", arguments)

    def _key(self, call: ToolCall, position: int) -> Hashable:
        """Returns what tells the call from others: its index, else its id, else its place.

        A piece with none of them and no name goes on with the call before it. Some vendors give all calls the same
        index: a piece that names a function under another id begins another call.
        """
        named = call.function is not None and bool(call.function.name)
        if call.index is not None:
            if call.id and (named or call.index not in self._at_index):
                self._at_index[call.index] = call.id
            return (call.index, self._at_index.get(call.index))
        if call.id:
            return call.id
        if self._ids and not named:
            return self._last_key
        return ("nameless", len(self._ids), position)


def _text(thinking: str | list[Piece]) -> str:
    return thinking if isinstance(thinking, str) else "".join(piece.text or "" for piece in thinking)
