"""What every dialect implements, in the order in which a newcomer reads it: request, reply, stream, error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import msgspec

from llmgateway_server.core.calls import Attempt, Call, Notice, NoticeCode
from llmgateway_server.core.errors import RequestError, UpstreamError, Violation
from llmgateway_server.core.events import Event
from llmgateway_server.core.messages import MediaPart
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import Operation
from llmgateway_server.providers.dialects.framing import Framings
from llmgateway_server.providers.dialects.media import MediaKind
from llmgateway_server.providers.dialects.stream import EventReader
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
    seed_field: str = "seed"
    """Where the seed goes."""
    unknown_options: frozenset[str] = frozenset({"top_k"})
    """What it refuses or passes over, by the names of the contract: fields of the request (`seed`, `tools`), a form of
    the answer (`response_format.json_object`), options of the dialect alone (`verbosity`), fields and parts of messages
    (`messages.name`, `messages.refusal`)."""
    most_stops: int = 0
    """How many stop texts it takes; 0: no limit is known."""
    media: frozenset[MediaKind] = frozenset({MediaKind.IMAGE, MediaKind.AUDIO, MediaKind.DOCUMENT})
    """What may stand beside a user's text. Where nothing may, content is sent as one text and never as a list."""
    document_part: str = "file"
    """How a document is written: `file` (name and data) or `document_url` (an address that may be a `data:` one)."""
    reasoning: str = "effort"
    """How it is told how much to reason: a name of `openai_chat.reasoning.WAYS`."""
    reasoning_history: str = ""
    """Field of an assistant's message in which its reasoning goes back, or `content` for a part of the content; empty:
    it does not go back."""
    state_vendor: str = ""
    """Whose opaque state stands in the field `reasoning_details` and goes back there; empty: it is not read."""
    tool_call_id: str = r"[\s\S]{1,40}"
    """Pattern of the ids that it takes for tool calls; others are replaced. OpenAI refuses more than 40 characters."""


UNREADABLE = (ValueError, RecursionError)
"""What decoding raises: msgspec's errors are ValueErrors, and so is text that is not UTF-8."""


def json_post(
    path: str,
    body: Mapping[str, Any],
    *,
    streaming: bool,
    headers: tuple[tuple[str, str], ...] = (),
    stream_type: str = "text/event-stream",
) -> WireRequest:
    """Returns a request with a JSON body; keys keep their order. A stream is asked for as `stream_type`."""
    accept = stream_type if streaming else "application/json"
    usual = (("content-type", "application/json"), ("accept", accept))
    return WireRequest("POST", path, usual + headers, msgspec.json.encode(body))


class Dialect(Protocol):
    """A wire format."""

    name: str
    state_vendor: str
    """Whose opaque state the dialect writes and understands: `ProviderState.vendor`."""
    operations: frozenset[Operation]
    framings: Framings
    """How its streams are divided into events, by media type; the usual one first."""

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

    def stream_reader(self, attempt: Attempt, quirks: Quirks) -> EventReader:
        """Returns the reader of one stream's events."""
        ...

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> UpstreamError:
        """Classifies an answer whose status is not 2xx. Never raises."""
        ...


@runtime_checkable
class HeaderReader(Dialect, Protocol):
    """A dialect whose whole answers say some of it in their headers, such as the tokens."""

    def decode_answer(self, attempt: Attempt, quirks: Quirks, headers: Mapping[str, str], body: bytes) -> list[Event]:
        """Returns the events of a whole answer, as `decode_reply` does.

        Args:
            attempt: tells the request and the target.
            quirks: of the vendor.
            headers: of the answer, with names in lower case.
            body: of the answer.

        Raises:
            UpstreamError: as `decode_reply`.
        """
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
