"""What every dialect implements, in the order in which a newcomer reads it: request, reply, stream, error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from llmgateway_server.core.calls import Attempt, Call, Notice, NoticeCode
from llmgateway_server.core.errors import RequestError, UpstreamError, Violation
from llmgateway_server.core.events import Event
from llmgateway_server.core.messages import MediaPart
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import Operation
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
    end_user_field: str = "user"
    """Where the id of the end user goes."""
    top_k: bool = False
    """Knows `top_k`, which OpenAI itself does not."""


UNREADABLE = (ValueError, RecursionError)
"""What decoding raises: msgspec's errors are ValueErrors, and so is text that is not UTF-8."""


def json_post(
    path: str, body: Mapping[str, Any], *, streaming: bool, headers: tuple[tuple[str, str], ...] = ()
) -> WireRequest:
    """Returns a request with a JSON body; keys keep their order."""
    accept = "text/event-stream" if streaming else "application/json"
    usual = (("content-type", "application/json"), ("accept", accept))
    return WireRequest("POST", path, usual + headers, msgspec.json.encode(body))


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
    state_vendor: str
    """Whose opaque state the dialect writes and understands: `ProviderState.vendor`."""
    operations: frozenset[Operation]

    def fetches(self, media: MediaPart) -> bool:
        """Tells whether the vendor fetches the address of `media` by itself; otherwise its bytes must be sent."""
        ...

    def encode_request(self, attempt: Attempt, quirks: Quirks) -> WireRequest:
        """Writes the provider's request, without credentials.

        Raises:
            RequestError: UNSUPPORTED_OPTION with every option that the dialect cannot express.
        """
        ...

    def decode_reply(self, attempt: Attempt, quirks: Quirks, body: bytes) -> list[Event]:
        """Returns the events of a whole answer: the same that its stream would bring.

        Raises:
            UpstreamError: the answer carries an error (in spite of a 2xx status) or cannot be read.
        """
        ...

    def stream_decoder(self, attempt: Attempt, quirks: Quirks) -> StreamDecoder:
        """Returns a decoder for one stream."""
        ...

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> UpstreamError:
        """Classifies an answer whose status is not 2xx. Never raises."""
        ...


class Unsupported:
    """Collects what a dialect cannot express of a call, so that a refusal names all of it.

    Args:
        dialect: its name.
        call: gets the notices; one each, however many targets are tried.
        drop: whether the request lets options be dropped.
    """

    def __init__(self, dialect: str, call: Call, *, drop: bool) -> None:
        self._dialect = dialect
        self._call = call
        self._drop = drop
        self._violations: list[Violation] = []
        self._prefix = "request." if call.operation is Operation.COUNT_TOKENS else ""

    def option(self, path: str) -> None:
        """Notes an option: refused, or dropped with a notice where the request allows it."""
        if self._drop:
            self.left_out(NoticeCode.OPTION_DROPPED, path)
        else:
            self.essential(path)

    def essential(self, path: str) -> None:
        """Notes something without which the answer would be another: refused always."""
        description = f"cannot be expressed in the dialect {self._dialect}"
        self._violations.append(Violation(self._prefix + path, description, "unsupported_option"))

    def hint(self, path: str) -> None:
        """Notes what changes the cost or the tone of an answer but not its meaning: left out, always with a notice."""
        self.left_out(NoticeCode.OPTION_DROPPED, path)

    def left_out(self, code: NoticeCode, path: str) -> None:
        """Notes something that no vendor of this dialect wants back: left out always, with a notice."""
        self._notice(code, path, f"was left out: the dialect {self._dialect} cannot express it")

    def changed(self, path: str, how: str) -> None:
        """Notes something that is said in another way than asked: always with a notice."""
        self._notice(NoticeCode.OPTION_DROPPED, path, how)

    def _notice(self, code: NoticeCode, path: str, how: str) -> None:
        path = self._prefix + path
        notice = Notice(code, path, f"{path} {how}")
        if notice not in self._call.notices:
            self._call.notices.append(notice)

    def settle(self) -> None:
        """Raises RequestError UNSUPPORTED_OPTION if anything was refused."""
        if self._violations:
            raise RequestError(
                Reason.UNSUPPORTED_OPTION, slots={"dialect": self._dialect}, violations=tuple(self._violations)
            )
