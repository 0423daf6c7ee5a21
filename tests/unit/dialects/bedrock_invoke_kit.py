"""What the tests of the dialects behind InvokeModel share: attempts at a model, chunks of its events, golden files."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.messages import Message, Part, Role, TextPart
from llmgateway_server.core.requests import CompleteRequest
from llmgateway_server.providers.dialects.dialect import Dialect, Quirks
from llmgateway_server.testing.fake_provider.bedrock_converse_frames import event, exception
from tests.unit.dialects.kit import TARGET, Json, attempt_of, golden_attempt, golden_of

METRICS = "amazon-bedrock-invocationMetrics"


def asking(model: str, *texts: str, streaming: bool = False, **options: Any) -> Attempt:
    """Returns an attempt at a model; texts are said by the user and the model in turn."""
    messages = [
        Message(Role.ASSISTANT if at % 2 else Role.USER, [Part(TextPart(text))])
        for at, text in enumerate(texts or ("Hi",))
    ]
    return attempt_of(
        CompleteRequest("m", messages, **options), replace(TARGET, upstream_model=model), streaming=streaming
    )


def chunk(said: Any) -> bytes:
    """Returns a model's event as the service wraps it."""
    data = said if isinstance(said, bytes) else json.dumps(said, ensure_ascii=False).encode()
    return event("chunk", json.dumps({"bytes": b64encode(data).decode(), "p": "abc"}).encode())


def stream(events: Iterable[Any], metrics: Json | None = None) -> bytes:
    """Returns a stream of a model's events, with the service's counts beside the last one."""
    *first, last = events
    return b"".join(map(chunk, [*first, last if metrics is None else {**last, METRICS: metrics}]))


def broken_off(name: str, message: str) -> bytes:
    """Returns the exception that ends a stream."""
    return exception(name, json.dumps({"message": message}).encode())


def golden_request(dialect: Dialect, folder: str, name: str) -> tuple[Json, Attempt, Any]:
    """Returns a golden file with its attempt and what the dialect writes of it."""
    golden = golden_of(folder, name)
    attempt = golden_attempt(golden)
    attempt = replace(attempt, target=replace(attempt.target, upstream_model=golden["model"]))
    return golden, attempt, dialect.encode_request(attempt, Quirks())


def told(dialect: Dialect, attempt: Attempt) -> Sequence[tuple[str, str]]:
    """Returns the notices of a request that is sent."""
    dialect.encode_request(attempt, Quirks())
    return [(notice.subject, notice.message) for notice in attempt.call.notices]
