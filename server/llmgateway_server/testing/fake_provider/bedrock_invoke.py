"""What all answers of Bedrock's InvokeModel have: chunks around a model's own events, and the service's counts.

Source: the API reference of Amazon Bedrock, "InvokeModelWithResponseStream", and recorded traffic.
"""

from __future__ import annotations

import json
import random
import string
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from llmgateway_server.testing.fake_provider import bedrock_converse, openai_chat
from llmgateway_server.testing.fake_provider.bedrock_converse_frames import event
from llmgateway_server.testing.fake_provider.frames import compact
from llmgateway_server.testing.fake_provider.reply import FakeReply, FakeText, FakeUsage

PADDING = string.ascii_letters + string.digits
"""What the length of a chunk is hidden with: so much of it."""
LATENCY_MS = 321
MODELS_IN_PATH = {
    "claude_text": r"(?P<model>[^/]*anthropic\.claude-(?:v\d|instant)[^/]*)",
    "claude": r"(?P<model>[^/]*anthropic\.[^/]*)",
    "text_model": r"(?P<model>[^/]*(?:amazon\.titan|cohere\.|ai21\.|mistral\.|deepseek\.)[^/]*)",
    "nova": r"(?P<model>[^/]*amazon\.nova[^/]*)",
    "chat_model": r"(?P<model>[^/]*(?:openai\.|qwen\.|jamba)[^/]*)",
    "llama": "(?P<model>[^/]+)",
    "vertex_model": "(?P<model>(?!count-tokens:)[^/:]+)",
}
"""Models in a path by the form in which they are asked; what names no vendor is one of Meta's."""

Json = dict[str, Any]


def chunks(events: Sequence[Json], reply: FakeReply) -> list[bytes]:
    """Returns a stream of a model's events; the service's counts stand beside the last one."""
    dice = random.Random(reply.response_id)
    *first, last = events
    return [
        _chunk(each, dice) for each in [*first, {**last, "amazon-bedrock-invocationMetrics": _metrics(reply.usage)}]
    ]


def nova_frames(reply: FakeReply, _request: Mapping[str, Any]) -> list[bytes]:
    """Returns what Nova streams: the events of Converse, each under its name."""
    return chunks([{name: said} for name, said in bedrock_converse.events(reply)], reply)


def chat_frames(reply: FakeReply, request: Mapping[str, Any]) -> list[bytes]:
    """Returns what models stream that speak chat completions."""
    written = openai_chat.frames(reply, {**request, "stream": True})
    said = [frame.removeprefix(b"data: ").strip() for frame in written]
    return chunks([json.loads(each) for each in said if each != b"[DONE]"], reply)


def count_headers(reply: FakeReply) -> Mapping[str, str]:
    """Returns the headers with which the service counts the tokens of a whole answer."""
    return {
        "x-amzn-bedrock-input-token-count": str(reply.usage.input_tokens),
        "x-amzn-bedrock-output-token-count": str(reply.usage.output_tokens),
        "x-amzn-bedrock-invocation-latency": str(LATENCY_MS),
    }


def text_of(reply: FakeReply) -> str:
    """Returns what a model of text alone says of a reply."""
    return "".join(part.text for part in reply.parts if isinstance(part, FakeText))


def _chunk(said: Json, dice: random.Random) -> bytes:
    payload = {"bytes": b64encode(compact(said).encode()).decode(), "p": PADDING[: dice.randint(1, len(PADDING))]}
    return event("chunk", compact(payload).encode())


def _metrics(figures: FakeUsage) -> Json:
    return {
        "inputTokenCount": figures.input_tokens,
        "outputTokenCount": figures.output_tokens,
        "invocationLatency": LATENCY_MS,
        "firstByteLatency": LATENCY_MS,
    }
