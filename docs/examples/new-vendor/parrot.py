"""A dialect from beginning to end: that of the Parrot, an engine made up for this page, which speaks words in lines.

It is asked `POST /speak` with `{"voice": …, "say": [[who, text], …], "most": …}` and answers a line for each word,
`{"word": "Hello "}`, and a last one, `{"over": "enough", "heard": 3, "said": 2}`. Whole answers are
`{"words": [...], "over": ...}`. Failures are `{"squawk": "too_long"}`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Event, Finished, FinishReason, PartKind, Started, UsageSnapshot
from llmgateway_server.core.messages import MediaPart, TextPart
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, Operation
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.counts import believable_count
from llmgateway_server.providers.dialects.dialect import UNREADABLE, Quirks, Unsupported, json_post
from llmgateway_server.providers.dialects.lines import LineDecoder
from llmgateway_server.providers.dialects.parts import PartsBuilder
from llmgateway_server.providers.dialects.problem import Problem, Vocabulary, refusal
from llmgateway_server.providers.dialects.stream import EventReader
from llmgateway_server.providers.faults import malformed
from llmgateway_server.providers.wire.port import WireRequest

FINISH_REASONS = {"enough": FinishReason.STOP, "hoarse": FinishReason.LENGTH}
WORDS = Vocabulary(codes={"too_long": Reason.CONTEXT_LENGTH_EXCEEDED, "asleep": Reason.UPSTREAM_OVERLOADED})


class Line(msgspec.Struct):
    """A line of a stream, a whole answer, or a failure: what is not there is None, what is not known is skipped."""

    word: str | None = None
    words: list[str] | None = None
    over: str | None = None
    heard: int | None = None
    said: int | None = None
    squawk: str | None = None


decode_line = msgspec.json.Decoder(Line).decode


class Parrot:
    """Speaks with parrots."""

    name = "parrot"
    state_vendor = "parrot"
    operations = frozenset({Operation.COMPLETE})
    framings: Mapping[str, type[LineDecoder]] = {"application/x-ndjson": LineDecoder}

    def fetches(self, media: MediaPart) -> bool:
        """Parrots look at nothing."""
        return False

    def encode_request(self, attempt: Attempt, quirks: Quirks) -> WireRequest:
        """Writes the conversation; whatever is no text, and every option but the cap, is refused by name."""
        request = attempt.call.request
        if not isinstance(request, CompleteRequest):
            raise TypeError(request)  # `operations` keeps others away
        unsupported = Unsupported(self.name, attempt.call, drop=request.drop_unsupported)
        say = []
        for m, message in enumerate(request.messages):
            for p, part in enumerate(message.parts):
                if isinstance(part.content, TextPart):
                    say.append([message.role.value, part.content.text])
                else:
                    unsupported.essential(f"messages[{m}].parts[{p}]")
        for option in ("tools", "temperature", "top_p", "top_k", "stop", "seed", "response_format", "reasoning"):
            if getattr(request, option) not in (None, [], ()):
                unsupported.option(option)
        unsupported.settle()
        body = {"voice": attempt.target.upstream_model, "say": say, "most": request.max_output_tokens}
        return json_post("/speak", body, streaming=attempt.call.streaming)

    def decode_reply(self, attempt: Attempt, quirks: Quirks, body: bytes) -> list[Event]:
        """Reads a whole answer by the same reader as a stream."""
        answer = _line(body)
        reader = _Reader(attempt)
        reader.add(Line(word="".join(answer.words or ())))
        if not reader.add(answer):
            raise malformed("answer without its end")
        return reader.parts.take()

    def stream_reader(self, attempt: Attempt, quirks: Quirks) -> EventReader:
        """Returns a reader of lines."""
        return _Reader(attempt)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> UpstreamError:
        """Reads the squawk; its status says the rest."""
        try:
            squawk = decode_line(body).squawk
        except UNREADABLE:
            squawk = None
        return refusal(Problem(code=squawk) if squawk else None, WORDS, status, headers, now_s=now_s)


class _Reader:
    def __init__(self, attempt: Attempt) -> None:
        self.parts = PartsBuilder()
        self.parts.add(Started("", attempt.target.upstream_model))

    def read(self, name: bytes, data: bytes) -> bool:
        return self.add(_line(data))

    def body_ended(self) -> bool:
        return False  # only a line with `over` ends an answer

    def add(self, line: Line) -> bool:
        if line.squawk is not None:
            raise Problem(code=line.squawk).error(WORDS, None, None)
        self.parts.flow(PartKind.TEXT, line.word or "")
        if line.over is None:
            return False
        self.parts.close()
        self.parts.add(UsageSnapshot(Usage(believable_count(line.heard), believable_count(line.said))))
        self.parts.add(Finished(FINISH_REASONS.get(line.over, FinishReason.UNSPECIFIED), line.over))
        return True


def _line(data: bytes) -> Line:
    try:
        return decode_line(data)
    except UNREADABLE as error:
        raise malformed("line is no word") from error
