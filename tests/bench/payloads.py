"""What travels in a benchmark: one request, one answer, one stream. The same bytes for every contestant."""

from __future__ import annotations

import json

from llmgateway.v1 import completion_pb2, message_pb2

SERVICE = "/llmgateway.v1.LlmGatewayService/"
WORD = " token"
"""What every streamed token says, so that a reader counts tokens without decoding messages."""
TOKENS = 200
WRITES = 20
"""In how many pieces a saturated provider writes its stream."""
PACE_S = 0.05
PACED_TOKENS = 20
MODEL = "bench-model"

KINDS = ("unary", "once", "pieces", "paced")
"""How the provider answers. It is the name of the provider's account and the first segment of the upstream path."""

_PROMPT = "Say in a few words what a gateway in front of many providers is good for, and what it must never do. " * 13
_ANSWER = "A gateway gives every provider one face, keeps the books, and never hides a failure from anybody. " * 11
_SHARED = {"id": "chatcmpl-0123456789abcdef", "created": 1700000000, "model": MODEL}
_USAGE = {"prompt_tokens": 300, "completion_tokens": TOKENS, "total_tokens": 300 + TOKENS}


def request(kind: str) -> bytes:
    """Returns a CompleteRequest of about 1.5 KB."""
    said = [
        message_pb2.Message(role=role, parts=[message_pb2.Part(text=text)])
        for role, text in ((message_pb2.ROLE_SYSTEM, "Be brief."), (message_pb2.ROLE_USER, _PROMPT))
    ]
    return completion_pb2.CompleteRequest(
        model=f"{kind}/{MODEL}", messages=said, temperature=0.5, max_output_tokens=512
    ).SerializeToString()


def upstream_body(*, stream: bool) -> bytes:
    """Returns what a gateway would send upstream, for the direct calls."""
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": _PROMPT}]
    body = {"model": MODEL, "messages": said, "temperature": 0.5, "max_tokens": 512}
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


def token_chunk() -> bytes:
    """Returns one token as a chunk of the body."""
    return _chunk([{"index": 0, "delta": {"content": WORD}, "finish_reason": None}])


def last_chunks() -> bytes:
    """Returns finish reason, usage, the final event and the end of the body."""
    done = b"data: [DONE]\n\n"
    ends = _chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}]) + _chunk([], usage=_USAGE)
    return ends + b"%x\r\n" % len(done) + done + b"\r\n" + STREAM_END
