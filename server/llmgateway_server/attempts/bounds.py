"""Ends a stream that goes on beyond what was asked for: by size, or by the gateway's own limit on its duration.

The reply then ends as if a cap on tokens had been reached: open parts are closed, the finish reason is LENGTH, and no
word of the provider stands beside it. The connection to the provider is closed at once.

    bound in bytes = (cap on output tokens · 1.05 + 64) · 32, at most `max_output_bytes`

A token of text has 3 to 9 bytes on average. Texts of nothing but long and common words come to 14 (English) and 23
(Hindi), texts full of rulers (`-----`) to 29; rulers and blanks alone, whose tokens have up to 128 bytes, exceed 32. So
an answer within its cap is not cut off. Who ignores the cap is stopped after about eight times as much English text.

Media have no such ratio and are held to `max_output_bytes` alone, as is a model whose cap nobody knows. What is passed
on exceeds a bound by at most what one read of the socket brings.
"""

from __future__ import annotations

import math
from types import TracebackType
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from llmgateway_server.attempts.timeouts import DurationEndedError
from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.events import (
    Finished,
    FinishReason,
    MediaDelta,
    PartFinished,
    PartStarted,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
)
from llmgateway_server.core.reply import Batch, OpenAttempt, Opened, Reply
from llmgateway_server.core.requests import CompleteRequest
from llmgateway_server.observe.log import logger

MAX_BYTES_PER_TOKEN = 32
"""UTF-8 bytes, by the vocabularies `cl100k_base` and `o200k_base`; see the module."""


class BoundSettings(BaseModel):
    """Bounds of what a stream may bring."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_output_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    """Most bytes of content in one streamed reply, whatever its cap on output tokens: UTF-8 of text, bytes of media."""


class CutOff(Finished):
    """The end that a reply gets here: figures that the provider told before do not cover what was delivered."""

    __slots__ = ()


class Bounds:
    """See the module.

    Args:
        settings: the bound that holds for all streams.
    """

    name = "bounds"
    why = "around the timeouts, one of whose ends becomes the reply's own; inside the meter, which charges it"

    def __init__(self, settings: BoundSettings) -> None:
        self._settings = settings

    def open(self, attempt: Attempt, following: OpenAttempt) -> Opened:
        """See `AttemptStage.open`. Whole replies have a cap of their own where they are read."""
        opened = following(attempt)
        return _BoundedReply(opened, attempt, self._settings.max_output_bytes) if attempt.call.streaming else opened


def text_byte_bound(attempt: Attempt) -> float:
    """Returns the most bytes of text that the cap on output tokens stands for; infinite where there is no cap."""
    cap = output_token_cap(attempt)
    return math.inf if cap is None else with_slack(cap) * MAX_BYTES_PER_TOKEN


def output_token_cap(attempt: Attempt) -> int | None:
    """Returns the cap on output tokens that holds for an attempt; None where nobody knows one.

    It is the caller's, else the one that was sent because the vendor demands one, else the model's own. Complete once
    the request was encoded.
    """
    request = attempt.call.request
    asked = request.max_output_tokens if isinstance(request, CompleteRequest) else None
    return asked or attempt.record.max_output_tokens or attempt.target.profile.max_output_token_count


def with_slack(token_count: int) -> int:
    """Returns a cap as it is enforced: vendors count the tokens that end a reply or a part in different ways."""
    return token_count + token_count // 20 + 64


class _BoundedReply:
    _reply: Reply

    def __init__(self, opened: Opened, attempt: Attempt, max_output_bytes: int) -> None:
        self._opened: Opened | None = opened
        self._attempt = attempt
        self._max_output_bytes = max_output_bytes
        self._bound = 0.0
        self._delivered = 0
        self._open_parts: set[int] = set()
        self._cut_off = False

    async def __aenter__(self) -> Self:
        if self._opened is not None:
            self._reply = await self._opened.__aenter__()
        self._bound = min(text_byte_bound(self._attempt), self._max_output_bytes)  # known once the request is encoded
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.__aexit__(kind, error, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        if self._cut_off:
            raise StopAsyncIteration
        try:
            batch = await self._reply.__anext__()
        except DurationEndedError:
            return await self._cut([], "duration")
        self._look_at(batch)
        if self._delivered <= self._bound or isinstance(batch[-1], Finished):
            return batch
        return await self._cut(batch, "size")

    def _look_at(self, batch: Batch) -> None:
        for event in batch:
            match event:
                case TextDelta(text=text) | ReasoningDelta(text=text) | ToolArgumentsDelta(arguments_json=text):
                    self._delivered += len(text) if text.isascii() else len(text.encode())
                case PartStarted(part_index=index):
                    self._open_parts.add(index)
                case PartFinished(part_index=index):
                    self._open_parts.discard(index)
                case MediaDelta(data=data):
                    self._delivered += len(data)
                    self._bound = self._max_output_bytes

    async def _cut(self, batch: Batch, bound: str) -> Batch:
        """Lets go of the provider and returns the last batch."""
        self._cut_off = True
        await self.__aexit__(None, None, None)
        target = self._attempt.target
        logger("attempts").warning(
            "stream cut off",
            bound=bound,
            provider=target.provider,
            model=target.upstream_model.partition("?")[0],
            call_id=self._attempt.call.scope.call_id,
        )
        return [*batch, *map(PartFinished, sorted(self._open_parts)), CutOff(FinishReason.LENGTH)]
