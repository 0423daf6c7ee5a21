"""What happens when a stream breaks after its first token, where the caller asked for more than its error.

CONTINUE: the next target gets what was delivered as the beginning of its own answer and goes on in the same text part.
RESTART: the next target answers the request afresh; the caller drops what came before.

Both are announced by `TargetSwitched`, and both attempts are billed. A reply that cannot go on as text is never
continued: the contract refuses CONTINUE together with tools or JSON output, and a reply whose first part is no text
(media, a tool of the vendor) ends with its error.
"""

from __future__ import annotations

from dataclasses import replace

from llmgateway_server.core.calls import Call
from llmgateway_server.core.events import (
    Event,
    MediaDelta,
    PartFinished,
    PartKind,
    PartStarted,
    ReasoningDelta,
    Started,
    TargetSwitched,
    TextDelta,
    ToolArgumentsDelta,
)
from llmgateway_server.core.messages import Message, Part, Role, TextPart
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Batch
from llmgateway_server.core.requests import CompleteRequest, MidStreamPolicy, Request
from llmgateway_server.core.targets import Target

BROKE = frozenset(
    {
        Reason.UPSTREAM_STREAM_INTERRUPTED,
        Reason.UPSTREAM_STALLED,
        Reason.UPSTREAM_MALFORMED,
        Reason.UPSTREAM_ERROR,
        Reason.UPSTREAM_OVERLOADED,
        Reason.UPSTREAM_TIMEOUT,
        Reason.UPSTREAM_RATE_LIMITED,
        Reason.UPSTREAM_UNCLASSIFIED,
    }
)
"""Ends of a stream that another target may not meet."""


class Delivered:
    """What the caller has of a reply: which parts, and the text of the one that can be continued."""

    def __init__(self) -> None:
        self._kinds: list[PartKind] = []
        self._open: set[int] = set()
        self._texts: list[str] = []
        self.text_part: int | None = None
        """The part that text goes into, once there is one."""

    def add(self, batch: Batch) -> None:
        """Takes in what was handed on."""
        for event in batch:
            match event:
                case PartStarted(part_index=index, kind=kind):
                    self._kinds.append(kind)
                    self._open.add(index)
                    if kind is PartKind.TEXT:
                        self.text_part = index
                        self._texts = []
                case TextDelta(part_index=index, text=text) if index == self.text_part:
                    self._texts.append(text)
                case PartFinished(part_index=index):
                    self._open.discard(index)
                case _:
                    pass

    @property
    def text(self) -> str:
        """The text of the part that can be continued."""
        return "".join(self._texts)

    @property
    def next_part(self) -> int:
        """The index of the next part."""
        return len(self._kinds)

    @property
    def continues(self) -> bool:
        """Whether another target can go on: there is nothing but reasoning and one text, which is not over."""
        kinds = [kind for kind in self._kinds if kind is not PartKind.REASONING]
        return kinds == [PartKind.TEXT] and self.text_part in self._open

    def open_others(self) -> list[int]:
        """Returns the open parts besides the text."""
        return sorted(self._open - {self.text_part})


class GoingOn:
    """The events of another target, as they go on with or replace what the caller has.

    Args:
        call: whose reply it is.
        asked: the caller's request; when it is continued, the call's gets the partial text behind it.
        policy: CONTINUE or RESTART.
        delivered: what the caller has.
        reason: why the target before broke off.
    """

    def __init__(
        self, call: Call, asked: Request, policy: MidStreamPolicy, delivered: Delivered, reason: Reason
    ) -> None:
        self._restarts = policy is MidStreamPolicy.RESTART
        self._reason = reason
        self._announced = False
        self._parts: dict[int, int] = {}
        """Index here by the other target's index."""
        self._next = 0 if self._restarts else delivered.next_part
        self._text_part = delivered.text_part
        self._close = [] if self._restarts else delivered.open_others()
        call.request = asked
        if not self._restarts and isinstance(asked, CompleteRequest):
            prefix = Message(Role.ASSISTANT, [Part(TextPart(delivered.text))])
            call.request = replace(asked, messages=[*asked.messages, prefix])

    def joined(self, batch: Batch, target: Target, attempt: int) -> Batch:
        """Returns the batch as the caller gets it."""
        joined: Batch = []
        if not self._announced and batch:
            self._announced = True
            joined += map(PartFinished, self._close)
            joined.append(
                TargetSwitched(
                    self._reason,
                    target.provider,
                    target.vendor,
                    target.upstream_model,
                    target.region,
                    attempt,
                    self._restarts,
                )
            )
        for event in batch:
            moved = self._moved(event)
            if moved is not None:
                joined.append(moved)
        return joined

    def _moved(self, event: Event) -> Event | None:
        match event:
            case Started():
                return None
            case PartStarted(part_index=index, kind=kind):
                if kind is PartKind.TEXT and not self._restarts and self._text_part not in self._parts.values():
                    self._parts[index] = self._text_part or 0
                    return None
                self._parts[index] = self._next
                self._next += 1
                event.part_index = self._parts[index]
            case TextDelta() | ReasoningDelta() | ToolArgumentsDelta() | MediaDelta() | PartFinished():
                event.part_index = self._parts[event.part_index]
            case _:
                pass
        return event


def may_go_on(call: Call, delivered: Delivered) -> bool:
    """Tells whether another attempt may take over from what was delivered."""
    policy = call.request.routing.mid_stream_policy
    if policy is MidStreamPolicy.FAIL or not isinstance(call.request, CompleteRequest):
        return False
    return policy is MidStreamPolicy.RESTART or delivered.continues
