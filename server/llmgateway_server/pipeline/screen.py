"""Screens what goes in and what comes out.

A stream is held back by a window, so that a term split over chunks is still caught.
"""

from __future__ import annotations

from typing import Protocol, Self

from pydantic import BaseModel, ConfigDict, Field

from llmgateway_server.core.calls import Call
from llmgateway_server.core.errors import RequestError
from llmgateway_server.core.events import (
    Finished,
    PartFinished,
    ReasoningDelta,
    TargetSwitched,
    TextDelta,
    ToolArgumentsDelta,
    has_content,
)
from llmgateway_server.core.messages import ReasoningPart, RefusalPart, TextPart, ToolCallPart, ToolResultPart
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Around, Batch, OpenCall, Opened, Reply
from llmgateway_server.core.requests import CompleteRequest, CountTokensRequest, EmbedRequest, Request


class ScreenSettings(BaseModel):
    """What is screened for. With nothing to look for the stage is not in the ring."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocked_terms: tuple[str, ...] = Field(default=(), max_length=10_000)
    """Texts, in any case, that neither a request nor a reply may contain."""


class Check(Protocol):
    """A guardrail as this stage uses it."""

    name: str
    window_chars: int
    """Characters at the end of a text that may belong to a finding which is not complete yet."""

    def found_in(self, text: str) -> bool:
        """Tells whether the text must be blocked."""
        ...


class Screen:
    """See the module.

    Args:
        check: what is looked for.
    """

    name = "screen"
    why = "on the way in before anything is cached or spent, on the way out after everything that could add text"

    def __init__(self, check: Check) -> None:
        self._check = check

    def open(self, call: Call, following: OpenCall) -> Opened:
        """See `CallStage.open`."""
        return _Screened(call, following, self._check)


class _Screened(Around[Call]):
    __slots__ = ("_check",)

    def __init__(self, call: Call, following: OpenCall, check: Check) -> None:
        super().__init__(call, following)
        self._check = check

    def begin(self) -> None:
        if any(self._check.found_in(text) for text in _texts(self.subject.request)):
            raise _blocked(self._check)

    def entered(self) -> Reply:
        return _ScreenedReply(self.reply, self._check)


Delta = TextDelta | ReasoningDelta | ToolArgumentsDelta


class _ScreenedReply:
    """Holds back the last `window_chars` of each open part."""

    def __init__(self, reply: Reply, check: Check) -> None:
        self._reply = reply
        self._check = check
        self._held: dict[int, Delta] = {}
        self._begun = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        screened: Batch = []
        while not screened or not self._begun:  # the reply begins with its first content, as it does without this stage
            self._screen(await self._reply.__anext__(), screened)
            self._begun = self._begun or has_content(screened) or any(isinstance(event, Finished) for event in screened)
        return screened

    def _screen(self, batch: Batch, screened: Batch) -> None:
        for event in batch:
            match event:
                case TextDelta() | ReasoningDelta() | ToolArgumentsDelta():
                    self._add(event, screened)
                case PartFinished(part_index=index):
                    if (rest := self._held.pop(index, None)) is not None:
                        screened.append(rest)
                    screened.append(event)
                case TargetSwitched(restarted=True):
                    self._held.clear()
                    screened.append(event)
                case _:
                    screened.append(event)

    def _add(self, delta: Delta, screened: Batch) -> None:
        held = self._held.pop(delta.part_index, None)
        text = (_text(held) if held is not None else "") + _text(delta)
        if self._check.found_in(text):
            raise _blocked(self._check)
        ready = len(text) - self._check.window_chars
        if held is None and ready == len(text):  # nothing of it can be the beginning of a finding
            screened.append(delta)
            return
        if isinstance(delta, TextDelta) and isinstance(held, TextDelta):
            delta.logprobs = held.logprobs + delta.logprobs
        if ready <= 0:
            self._held[delta.part_index] = _with_text(delta, text)
            return
        if ready < len(text):
            rest = _with_text(delta, text[ready:])
            if isinstance(rest, TextDelta):
                rest.logprobs = ()
            self._held[delta.part_index] = rest
        screened.append(_with_text(delta, text[:ready]))


def _text(delta: Delta) -> str:
    return delta.arguments_json if isinstance(delta, ToolArgumentsDelta) else delta.text


def _with_text(delta: Delta, text: str) -> Delta:
    match delta:
        case ToolArgumentsDelta():
            return ToolArgumentsDelta(delta.part_index, text)
        case ReasoningDelta():
            return ReasoningDelta(delta.part_index, text)
        case TextDelta():
            return TextDelta(delta.part_index, text, delta.logprobs)


def _blocked(check: Check) -> RequestError:
    return RequestError(Reason.GUARDRAIL_BLOCKED, slots={"check": check.name})


def _texts(request: Request) -> list[str]:
    match request:
        case EmbedRequest(inputs=inputs):
            return inputs
        case CountTokensRequest(completion=completion):
            return _texts(completion)
        case CompleteRequest(messages=messages, tools=tools):
            found = [text for tool in tools for text in (tool.description, tool.parameters_json_schema)]
            for message in messages:
                for part in message.parts:
                    match part.content:
                        case TextPart(text=text) | ReasoningPart(text=text) | RefusalPart(text=text):
                            found.append(text)
                        case ToolCallPart(arguments_json=text):
                            found.append(text)
                        case ToolResultPart(content=content):
                            found += [piece.text for piece in content if isinstance(piece, TextPart)]
            return found
