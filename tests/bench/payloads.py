"""What travels in a benchmark: one request, one answer, streams. The same bytes for every contestant."""

from __future__ import annotations

import json
from dataclasses import dataclass

from llmgateway.v1 import completion_pb2, message_pb2

SERVICE = "/llmgateway.v1.LlmGatewayService/"
WORD = " token"
"""What every streamed token begins with, so that a reader counts tokens without decoding messages."""
MODEL = "bench-model"
CALLS_AT_ONCE = 2000
"""More than any load here opens."""


@dataclass(slots=True, frozen=True)
class Kind:
    """One way in which the provider answers.

    Its name is that of the provider's account, and the first segment of the upstream path.
    """

    name: str
    tokens: int = 0
    """Of a stream; 0: the answer is not a stream."""
    writes: int = 1
    """In how many pieces the stream is written."""
    pace_s: float = 0.0
    """Time between two pieces; 0: as fast as the socket takes them."""

    @property
    def duration_s(self) -> float:
        """How long a paced stream takes at least."""
        return self.pace_s * (self.writes - 1)


UNARY = Kind("unary")
ONCE = Kind("once", tokens=200)
PIECES = Kind("pieces", tokens=200, writes=20)
PACED = Kind("paced", tokens=20, writes=20, pace_s=1 / 20)
QUICK = Kind("quick", tokens=200, writes=200, pace_s=1 / 200)
LASTING = Kind("lasting", tokens=160, writes=160, pace_s=1 / 20)
KINDS = {kind.name: kind for kind in (UNARY, ONCE, PIECES, PACED, QUICK, LASTING)}

_SENTENCE = "Say in a few words what a gateway in front of many providers is good for, and what it must never do. "
PROMPT_CHARS = 13 * len(_SENTENCE)
_ANSWER = "A gateway gives every provider one face, keeps the books, and never hides a failure from anybody. " * 11
_SHARED = {"id": "chatcmpl-0123456789abcdef", "created": 1700000000, "model": MODEL}
_OUTPUT_TOKENS = 200
_USAGE = {"prompt_tokens": 300, "completion_tokens": _OUTPUT_TOKENS, "total_tokens": 300 + _OUTPUT_TOKENS}


def prompt(chars: int = PROMPT_CHARS) -> str:
    """Returns a text of so many ASCII characters."""
    return (_SENTENCE * (chars // len(_SENTENCE) + 1))[:chars]


def request(model: str, *, prompt_chars: int = PROMPT_CHARS) -> bytes:
    """Returns a CompleteRequest, of about 1.5 KB unless another length of the prompt is given."""
    said = [
        message_pb2.Message(role=role, parts=[message_pb2.Part(text=text)])
        for role, text in ((message_pb2.ROLE_SYSTEM, "Be brief."), (message_pb2.ROLE_USER, prompt(prompt_chars)))
    ]
    return completion_pb2.CompleteRequest(
        model=model, messages=said, temperature=0.5, max_output_tokens=512
    ).SerializeToString()


def http_body(model: str, *, stream: bool) -> bytes:
    """Returns the same request as a chat completion: for the provider itself, and for gateways that speak HTTP."""
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt()}]
    body = {"model": model, "messages": said, "temperature": 0.5, "max_tokens": 512}
    return json.dumps({**body, "stream": True} if stream else body, separators=(",", ":")).encode()


def answer_body() -> bytes:
    """Returns a chat completion of about 1.4 KB."""
    choice = {"index": 0, "message": {"role": "assistant", "content": _ANSWER}, "finish_reason": "stop"}
    body = {**_SHARED, "object": "chat.completion", "choices": [choice], "usage": _USAGE}
    return json.dumps(body, separators=(",", ":")).encode()


def answer() -> bytes:
    """Returns the whole HTTP response of a unary call."""
    body = answer_body()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM_END = b"0\r\n\r\n"


def _chunk(choices: list[object], **more: object) -> bytes:
    event = {**_SHARED, "object": "chat.completion.chunk", "choices": choices, **more}
    text = b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n" % len(text) + text + b"\r\n"


def token_chunk(number: int) -> bytes:
    """Returns one token as a chunk of the body. Neighbours differ: some gateways take equal ones for a loop."""
    return _chunk([{"index": 0, "delta": {"content": f"{WORD}{',' * (number % 2)}"}, "finish_reason": None}])


def last_chunks() -> bytes:
    """Returns finish reason, usage, the final event and the end of the body."""
    done = b"data: [DONE]\n\n"
    ends = _chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}]) + _chunk([], usage=_USAGE)
    return ends + b"%x\r\n" % len(done) + done + b"\r\n" + STREAM_END


def pieces(kind: Kind) -> tuple[bytes, ...]:
    """Returns what the provider writes for a kind, piece by piece."""
    if not kind.tokens:
        return (answer(),)
    tokens = [token_chunk(number) for number in range(kind.tokens)]
    size = kind.tokens // kind.writes
    written = [b"".join(tokens[start : start + size]) for start in range(0, kind.tokens, size)]
    written[0] = STREAM_HEAD + written[0]
    # The end travels with the last token, as it does where a model is the slow part.
    written[-1] += last_chunks()
    return tuple(written)
