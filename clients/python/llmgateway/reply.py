"""Replies as programs read them: thin views of the protos, which stay within reach as `raw`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from llmgateway.v1 import embedding_pb2, message_pb2, reply_pb2, usage_pb2

_FINISH = "FINISH_REASON_"


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool that the model wants made."""

    id: str
    """Identifies the call within the conversation."""
    name: str
    """Name of the tool."""
    arguments_json: str
    """The arguments as the model wrote them; incomplete where `finish_reason` is LENGTH. Never trust them."""

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """The arguments, read when first asked for.

        Raises:
            ValueError: the model did not write a JSON object.
        """
        value = json.loads(self.arguments_json or "{}")
        if not isinstance(value, dict):
            raise ValueError(f"the arguments of {self.name} are no JSON object")
        return value

    def result(
        self, content: str | Iterable[message_pb2.ToolResultContent], *, is_error: bool = False
    ) -> message_pb2.Message:
        """Returns the message that answers this call; append it to the conversation behind `Reply.message`.

        Args:
            content: what the tool answered.
            is_error: the tool failed, and the content says how.
        """
        pieces = [message_pb2.ToolResultContent(text=content)] if isinstance(content, str) else content
        result = message_pb2.ToolResult(tool_call_id=self.id, name=self.name, content=pieces, is_error=is_error)
        return message_pb2.Message(role=message_pb2.ROLE_TOOL, parts=[message_pb2.Part(tool_result=result)])


class Reply:
    """An answer in one piece.

    Args:
        raw: the proto, which has everything else: target, attempts, timings, notices, trace, …
    """

    __slots__ = ("raw",)

    def __init__(self, raw: reply_pb2.CompleteResponse) -> None:
        self.raw = raw

    def __repr__(self) -> str:
        return f"Reply(request_id={self.request_id!r}, model={self.raw.model!r}, finish_reason={self.finish_reason!r})"

    @property
    def text(self) -> str:
        """All text of the answer; empty where there is none."""
        return "".join(part.text for part in self.raw.parts)

    @property
    def reasoning(self) -> str:
        """The reasoning that the vendor shows."""
        return "".join(part.reasoning.text for part in self.raw.parts)

    @property
    def refusal(self) -> str:
        """What the model said when it declined to answer."""
        return "".join(part.refusal.text for part in self.raw.parts)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls that the model wants made, in order."""
        calls = (part.tool_call for part in self.raw.parts if part.HasField("tool_call"))
        return tuple(ToolCall(call.id, call.name, call.arguments_json) for call in calls)

    @property
    def parts(self) -> Sequence[message_pb2.Part]:
        """Everything that the model said, in order."""
        return self.raw.parts

    @property
    def message(self) -> message_pb2.Message:
        """The answer as a message for the conversation, the vendor's opaque state included."""
        return message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, parts=self.raw.parts)

    @property
    def usage(self) -> usage_pb2.Usage:
        """Tokens. Absent is not zero: `HasField` tells."""
        return self.raw.usage

    @property
    def cost_usd(self) -> Decimal | None:
        """What it cost in US dollars, exactly. None: the model has no price."""
        return cost_usd(self.raw.cost)

    @property
    def finish_reason(self) -> str:
        """Why the answer ended: `STOP`, `LENGTH`, `TOOL_CALLS`, … as in `FinishReason`; a newer one is a number."""
        try:
            return reply_pb2.FinishReason.Name(self.raw.finish_reason).removeprefix(_FINISH)
        except ValueError:
            return str(self.raw.finish_reason)

    @property
    def request_id(self) -> str:
        """The gateway's id of the call."""
        return self.raw.call_id

    def json(self) -> Any:
        """Reads the text as JSON, for answers whose `response_format` says so.

        Raises:
            ValueError: it is none, for example because the answer was cut off.
        """
        return json.loads(self.text)


class Embeddings:
    """Vectors, one per input and in its order.

    Args:
        raw: the proto, which has everything else.
    """

    __slots__ = ("raw",)

    def __init__(self, raw: embedding_pb2.EmbedResponse) -> None:
        self.raw = raw

    def __repr__(self) -> str:
        return (
            f"Embeddings(request_id={self.raw.call_id!r}, model={self.raw.model!r}, count={len(self.raw.embeddings)})"
        )

    @property
    def vectors(self) -> list[list[float]]:
        """The numbers, copied out of the proto."""
        return [list(each.values) for each in self.raw.embeddings]

    @property
    def usage(self) -> usage_pb2.Usage:
        """Tokens; there is no output."""
        return self.raw.usage

    @property
    def cost_usd(self) -> Decimal | None:
        """What it cost in US dollars, exactly. None: the model has no price."""
        return cost_usd(self.raw.cost)


def cost_usd(cost: usage_pb2.Cost) -> Decimal | None:
    """Returns the sum in US dollars; None where no amount is known."""
    if cost.unpriced or not cost.HasField("total"):
        return None
    return Decimal(cost.total.nano_usd).scaleb(-9)
