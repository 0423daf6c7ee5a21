"""Counts of recorded requests against what their providers reported, from a folder beside the repository."""

from __future__ import annotations

import json
import os
import statistics
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from llmgateway_server.contract.requests_in import complete_request
from llmgateway_server.core.targets import Target
from llmgateway_server.providers.profiles import profile_of
from llmgateway_server.providers.tokens.count import Counted, Method, count_input
from tests.recorded.neutral import is_sayable, request_of

pytestmark = pytest.mark.recorded

FOLDER = os.environ.get("LLMGATEWAY_RECORDED_DIR", "")
NO_FOLDER = "no-folder"
OPENAI_MODELS = ("gpt-3", "gpt-4", "gpt-5", "o1", "o3", "o4")


@cache
def case_of(name: str) -> dict[str, Any]:
    case: dict[str, Any] = json.loads(Path(FOLDER, "cases", f"{name}.json").read_text("utf-8"))
    return case


def is_countable(case: dict[str, Any]) -> bool:
    """Tells whether the provider counted what the contract can say, and nothing of its own beside it."""
    body = case["request"].get("body")
    own_tools = isinstance(body, dict) and any(
        "input_schema" not in t and "function" not in t for t in body.get("tools") or ()
    )
    return (
        not case["expected"]["error_kind"]
        and bool(reported(case))
        and not own_tools
        and "functions" not in case["unmapped"]
        and is_sayable(case["neutral_request"])
    )


def reported(case: dict[str, Any]) -> int:
    expected = case["expected"]
    return expected.get("input_tokens_incl_cache") or expected.get("input_tokens") or 0


def is_text_alone(neutral: dict[str, Any]) -> bool:
    parts = [part for message in neutral["messages"] for part in message["parts"]]
    return all(part.keys() == {"text"} for part in parts) and not (
        neutral.get("tools") or neutral.get("response_format") or neutral.get("reasoning")
    )


def names(*prefixes: str, text_alone: bool | None = None, models: tuple[str, ...] = ("",)) -> list[str]:
    """Returns the cases of these kinds; one name that skips where there is no folder."""
    if not FOLDER:
        return [NO_FOLDER]
    stems = sorted(path.stem for path in Path(FOLDER, "cases").glob("*.json") if path.stem.startswith(prefixes))
    found = [
        stem
        for stem in stems
        if is_countable(case_of(stem))
        and case_of(stem)["neutral_request"]["model"].startswith(models)
        and (text_alone is None or is_text_alone(case_of(stem)["neutral_request"]) is text_alone)
    ]
    return found or [NO_FOLDER]


OPENAI = ("openai-chat-", "azure_openai-chat-")


async def counted(name: str, vendor: str) -> Counted:
    if name == NO_FOLDER:
        pytest.skip("LLMGATEWAY_RECORDED_DIR names no folder of recordings")
    neutral = case_of(name)["neutral_request"]
    model = neutral["model"]
    target = Target("account", vendor, model, profile=profile_of(vendor, model))
    return await count_input(complete_request(request_of(neutral, "account")), target)


@pytest.mark.parametrize("name", names(*OPENAI, text_alone=True, models=OPENAI_MODELS))
async def test_text_alone_is_counted_as_openai_does(name: str) -> None:
    ours = await counted(name, "openai")
    assert (ours.input_token_count, ours.method) == (reported(case_of(name)), Method.TOKENIZER)


@pytest.mark.parametrize("name", names(*OPENAI, text_alone=False, models=OPENAI_MODELS))
async def test_everything_else_of_openai_is_a_near_estimate(name: str) -> None:
    ours = await counted(name, "openai")
    assert ours.method is Method.ESTIMATE
    assert abs(ours.input_token_count - reported(case_of(name))) <= 4 + reported(case_of(name)) * 0.06


async def test_anthropics_counts_are_near_the_estimates() -> None:
    found = names("anthropic-messages-")
    errors = []
    for name in found:
        ours = await counted(name, "anthropic")
        assert ours.method is Method.ESTIMATE
        errors.append(abs(ours.input_token_count / reported(case_of(name)) - 1))
    assert statistics.median(errors) < 0.1
    assert sorted(errors)[int(len(errors) * 0.8)] < 0.25
