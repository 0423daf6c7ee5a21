"""What every dialect implements, in the order in which a newcomer reads it: request, reply, stream, error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from llmgateway_server.core.calls import Call, Notice, NoticeCode
from llmgateway_server.core.errors import RequestError, UpstreamError, Violation
from llmgateway_server.core.events import Event
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import Operation
from llmgateway_server.core.targets import Target
from llmgateway_server.providers.wire.port import WireRequest


@dataclass(slots=True, frozen=True)
class Quirks:
    """How a vendor departs from its dialect: data in the vendor's row, never a branch on its name."""

    max_tokens_field: str = "max_completion_tokens"
    """Where `openai_chat` puts the cap on output tokens."""
    done_line_required: bool = True
    """A stream without `[DONE]` was cut, even after a finish reason."""
    stream_usage_option: bool = True
    """Ask for usage with `stream_options.include_usage`."""
    developer_role: bool = True
    """Knows the role `developer`; otherwise it is sent as `system`."""


class StreamDecoder(Protocol):
    """Turns one stream's bytes into events, however they are cut."""

    finished: bool
    """The stream said that it is over; what follows is ignored."""
    failure: UpstreamError | None
    """What is to be raised once the events that came before it are delivered."""

    def feed(self, data: bytes) -> list[Event]:
        """Returns the events of all that is complete so far; adjacent deltas are merged, except for the first.

        Raises:
            UpstreamError: the stream carries an error or cannot be read, and no event came before it; otherwise
                those events are returned and `failure` is set.
        """
        ...

    def end(self) -> list[Event]:
        """Tells that the body ended cleanly.

        Raises:
            UpstreamError: UPSTREAM_STREAM_INTERRUPTED, the stream is not complete.
        """
        ...


class Dialect(Protocol):
    """A wire format."""

    name: str
    operations: frozenset[Operation]

    def encode_request(self, call: Call, target: Target, quirks: Quirks) -> WireRequest:
        """Writes the provider's request, without credentials.

        Raises:
            RequestError: UNSUPPORTED_OPTION with every option that the dialect cannot express.
        """
        ...

    def decode_reply(self, call: Call, body: bytes) -> list[Event]:
        """Returns the events of a whole answer: the same that its stream would bring.

        Raises:
            UpstreamError: the answer carries an error (in spite of a 2xx status) or cannot be read.
        """
        ...

    def stream_decoder(self, call: Call, quirks: Quirks) -> StreamDecoder:
        """Returns a decoder for one stream."""
        ...

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> UpstreamError:
        """Classifies an answer whose status is not 2xx. Never raises."""
        ...


@dataclass(slots=True)
class Unsupported:
    """Collects the options that a dialect cannot express, so that a refusal names all of them."""

    dialect: str
    drop: bool
    violations: list[Violation] = field(default_factory=list)

    def option(self, path: str, *, essential: bool = False) -> None:
        """Notes an option. An essential one (content, tools) is refused even where options may be dropped."""
        if self.drop and not essential:
            return
        self.violations.append(
            Violation(path, f"cannot be expressed in the dialect {self.dialect}", "unsupported_option")
        )

    def settle(self) -> None:
        """Raises RequestError UNSUPPORTED_OPTION if anything was refused."""
        if self.violations:
            raise RequestError(
                Reason.UNSUPPORTED_OPTION, slots={"dialect": self.dialect}, violations=tuple(self.violations)
            )


def dropped(path: str, dialect: str) -> Notice:
    """Returns the notice about an option that was dropped."""
    return Notice(NoticeCode.OPTION_DROPPED, path, f"{path} was dropped: the dialect {dialect} cannot express it")
