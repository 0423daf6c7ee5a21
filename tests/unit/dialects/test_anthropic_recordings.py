"""Recorded answers of Anthropic, read by the dialect alone, and histories that real clients sent."""

from __future__ import annotations

import json
import os
import random
from base64 import b64decode
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import PartKind
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.usage import Usage
from tests.unit.dialects.anthropic_replies import DIALECT, read_stream, streamed, whole
from tests.unit.dialects.kit import Folded, parsed

pytestmark = pytest.mark.recorded

FOLDER = os.environ.get("LLMGATEWAY_RECORDED_DIR", "")
NO_FOLDER = "no-folder"
REASONS = {
    "unauthenticated": Reason.PROVIDER_AUTH_FAILED,
    "permission_denied": Reason.PROVIDER_AUTH_FAILED,
    "not_found": Reason.MODEL_NOT_FOUND,
    "rate_limited": Reason.UPSTREAM_RATE_LIMITED,
    "invalid_argument": Reason.UPSTREAM_REJECTED_REQUEST,
    "context_length": Reason.CONTEXT_LENGTH_EXCEEDED,
    "internal": Reason.UPSTREAM_ERROR,
    "overloaded": Reason.UPSTREAM_OVERLOADED,
}


def names() -> list[str]:
    """Returns the cases; one name that skips where there is no folder."""
    if not FOLDER:
        return [NO_FOLDER]
    found = sorted(path.stem for path in Path(FOLDER, "cases").glob("anthropic-messages-*.json"))
    return found or [NO_FOLDER]


@cache
def case_of(name: str) -> dict[str, Any]:
    if not FOLDER:
        reason = "LLMGATEWAY_RECORDED_DIR names no folder of recordings"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, which CI must have")
        pytest.skip(reason)
    case: dict[str, Any] = json.loads(Path(FOLDER, "cases", f"{name}.json").read_text("utf-8"))
    return case


def body_of(case: dict[str, Any]) -> bytes:
    response = case["response"]
    if response.get("chunks_b64"):
        return b"".join(b64decode(chunk) for chunk in response["chunks_b64"])
    body = response["body"]
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def cuts(body: bytes) -> list[list[int] | range]:
    """Returns where a body is cut: nowhere, after every byte, at random."""
    made: list[list[int] | range] = [[], range(1, len(body))]
    for seed in (1, 2, 3):
        places = random.Random(seed)
        made.append(sorted(places.randrange(len(body)) for _ in range(40)))
    return made


def assert_reply(expected: dict[str, Any], folded: Folded) -> None:
    assert folded.started is not None
    assert folded.finished is not None
    assert folded.started.response_id.startswith("msg_")
    assert folded.started.provider_model == expected["response_model"]
    assert folded.text() == (expected["text"] or "")
    assert folded.text(PartKind.REASONING) == (expected["reasoning_text"] or "")
    assert folded.calls == [
        (call["id"], call["name"], parsed(json.dumps(call["arguments"]))) for call in expected["tool_calls"]
    ]
    assert folded.finished.finish_reason.lower() in expected["finish_reason_accept"]
    assert folded.finished.provider_finish_reason == expected["native_finish_reason"]
    usage = folded.usage or Usage()
    assert usage.input_token_count == expected["input_tokens_incl_cache"]
    assert usage.output_token_count == expected["output_tokens_incl_reasoning"]
    assert usage.cache_read_token_count == expected["cached_input_tokens"]
    assert usage.reasoning_token_count == expected["reasoning_tokens"]
    written = [usage.cache_write_5m_token_count, usage.cache_write_1h_token_count]
    assert sum(count or 0 for count in written) == (expected["cache_write_tokens"] or 0)


@pytest.mark.parametrize("name", names())
def test_recorded_answers_are_read(name: str) -> None:
    case = case_of(name)
    body, response, expected = body_of(case), case["response"], case["expected"]
    kind = expected["error_kind"]
    if response["status"] != 200:
        found = DIALECT.decode_error(response["status"], response["headers"], body, now_s=0.0)
        assert found.reason is REASONS[kind]
    elif not case["streaming"]:
        assert_reply(expected, whole(body))
    elif kind:
        for cut_at in cuts(body):
            with pytest.raises(UpstreamError) as caught:
                read_stream(body, cut_at)
            assert caught.value.reason is REASONS[kind]
    else:
        first = streamed(body)
        assert_reply(expected, first)
        assert all(streamed(body, cut_at) == first for cut_at in cuts(body))


@pytest.mark.parametrize("name", names())
def test_recorded_answers_that_break_off_are_never_whole(name: str) -> None:
    case = case_of(name)
    body = body_of(case)
    if case["response"]["status"] != 200:
        return
    places = random.Random(1)
    end = body.find(b'"message_stop"')
    most = len(body) - 1 if end < 0 else end
    for stop in [places.randrange(most) for _ in range(50)]:
        with pytest.raises(UpstreamError):
            read_stream(body[:stop]) if case["streaming"] else whole(body[:stop])
