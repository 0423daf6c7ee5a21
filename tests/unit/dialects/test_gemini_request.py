"""What Google is asked: bodies against golden files and the vendor's own types, and what is refused by name."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from google.genai import types
from pydantic import TypeAdapter

from llmgateway_server.core.messages import MediaPart, Message, Part, Role, TextPart
from llmgateway_server.core.requests import (
    CompleteRequest,
    CountTokensRequest,
    FormatKind,
    ReasoningOptions,
    ResponseFormat,
    Tool,
)
from llmgateway_server.core.targets import Profile, ReasoningStyle
from llmgateway_server.providers.dialects.dialect import Quirks
from llmgateway_server.providers.dialects.gemini import Gemini
from llmgateway_server.providers.dialects.gemini.request import Service
from llmgateway_server.providers.vendors import VENDORS
from tests.unit.dialects.gemini_replies import DIALECT
from tests.unit.dialects.kit import TARGET, asked, attempt_of, golden_attempt, golden_names, golden_of, refused_fields

NAMES = golden_names("gemini")
HI = Message(Role.USER, [Part(TextPart("Hi"))])
JUDGES: dict[str, Any] = {
    "contents": list[types.Content],
    "systemInstruction": types.Content,
    "tools": list[types.Tool],
    "toolConfig": types.ToolConfig,
    "safetySettings": list[types.SafetySetting],
    "cachedContent": str,
    "serviceTier": types.ServiceTier,
    "generationConfig": types.GenerationConfig,
}
"""The vendor's types of a body's fields; they refuse fields that they do not know."""


@pytest.mark.parametrize("name", NAMES)
def test_bodies_are_as_written_down(name: str) -> None:
    golden = golden_of("gemini", name)
    attempt = golden_attempt(golden, counting=golden.get("counting", False))
    request = DIALECT.encode_request(attempt, Quirks())
    assert json.loads(request.body) == golden["body"]
    assert (request.method, request.path) == ("POST", golden["path"])
    accept = "text/event-stream" if golden.get("streaming") else "application/json"
    assert dict(request.headers) == {"content-type": "application/json", "accept": accept}
    assert [notice.subject for notice in attempt.call.notices] == golden.get("notices", [])


def test_golden_files_were_found() -> None:
    assert len(NAMES) >= 45


@pytest.mark.parametrize("name", NAMES)
def test_bodies_are_what_the_vendors_own_types_allow(name: str) -> None:
    for field, value in golden_of("gemini", name)["body"].items():
        TypeAdapter(JUDGES[field]).validate_python(without_stand_ins(value))


def without_stand_ins(value: Any) -> Any:
    """Returns a value without the stand-in for signatures, which is a word and not base64."""
    if isinstance(value, list):
        return [without_stand_ins(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: without_stand_ins(each) for name, each in value.items() if each != "skip_thought_signature_validator"}


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-flash", "/models/gemini-2.5-flash:generateContent"),
        ("a b:c/d", "/models/a%20b%3Ac%2Fd:generateContent"),
        ("models/gemini-2.5-flash", "/models/gemini-2.5-flash:generateContent"),
        ("tunedModels/my-model", "/tunedModels/my-model:generateContent"),
        ("publishers/meta/models/llama@001", "/publishers/meta/models/llama@001:generateContent"),
        ("endpoints/123", "/endpoints/123:generateContent"),
        ("models", "/models/models:generateContent"),
        ("models/../secrets", "/models/models%2F..%2Fsecrets:generateContent"),
        ("publishers//x", "/models/publishers%2F%2Fx:generateContent"),
    ],
)
def test_a_model_is_a_segment_of_the_path_or_a_path(model: str, path: str) -> None:
    attempt = attempt_of(CompleteRequest("m", [HI]), dataclasses.replace(TARGET, upstream_model=model))
    assert DIALECT.encode_request(attempt, Quirks()).path == path


@pytest.mark.parametrize(
    ("base", "path", "target"),
    [
        (
            "/v1/projects/p/locations/l/publishers/google",
            "/models/g:x",
            "/v1/projects/p/locations/l/publishers/google/models/g:x",
        ),
        (
            "/v1/projects/p/locations/l/publishers/google",
            "/publishers/meta/models/g:x",
            "/v1/projects/p/locations/l/publishers/meta/models/g:x",
        ),
        ("/v1/projects/p/locations/l/publishers/google", "/endpoints/1:x", "/v1/projects/p/locations/l/endpoints/1:x"),
        (
            "/v1/projects/p/locations/l/publishers/google",
            "/projects/q/locations/l/endpoints/1:x",
            "/v1/projects/q/locations/l/endpoints/1:x",
        ),
        ("/v1/publishers/google", "/projects/q/locations/l/endpoints/1:x", "/v1/projects/q/locations/l/endpoints/1:x"),
        ("/case/v1", "/models/g:x", "/case/v1/models/g:x"),
    ],
)
def test_vertex_has_other_models_beside_googles_own(base: str, path: str, target: str) -> None:
    assert VENDORS["vertex"].locate(base, "")(path, "g") == target


def test_vertex_is_addressed_by_region_and_project() -> None:
    vertex = VENDORS["vertex"]
    assert vertex.address({"region": "us-east5", "project": "p"}) == (
        "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5/publishers/google"
    )
    assert vertex.address({"region": "global", "project": "p"}) == (
        "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/google"
    )
    assert vertex.needs == ("region", "project")


def test_ai_studio_counts_whole_requests() -> None:
    request = CompleteRequest("m", [HI], max_output_tokens=5, service_tier="flex")
    attempt = attempt_of(CountTokensRequest(request))
    body, _ = asked(Gemini(Service(counts_requests=True)), attempt)
    assert body == {
        "generateContentRequest": {
            "model": "models/upstream-1",
            "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
            "serviceTier": "flex",
            "generationConfig": {"maxOutputTokens": 5},
        }
    }


# ---------------------------------------------------------------------------------------------------------------------
# What cannot be said
# ---------------------------------------------------------------------------------------------------------------------


def attempt_with(style: ReasoningStyle = ReasoningStyle.UNKNOWN, *, drop: bool = False, **fields: Any) -> Any:
    fields.setdefault("messages", [HI])
    request = CompleteRequest("m", drop_unsupported=drop, **fields)
    return attempt_of(request, dataclasses.replace(TARGET, profile=Profile(reasoning=style)))


def own(**options: Any) -> dict[str, Any]:
    return {"provider_options": {"gemini": options}}


NOW = Tool("now")
SCHEMA = ResponseFormat(FormatKind.JSON_SCHEMA, "x", schema_json='{"type":"object"}')
REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "one call at a time": ({"tools": [NOW], "parallel_tool_calls": False}, ["parallel_tool_calls"]),
    "an unknown tier": ({"service_tier": "scale"}, ["service_tier"]),
    "too many stops": ({"stop": tuple("abcdef")}, ["stop"]),
    "a long seed": ({"seed": 2**31}, ["seed"]),
    "a long negative seed": ({"seed": -(2**31) - 1}, ["seed"]),
    "searches that are counted": (
        own(google_search={"max_uses": 1, "allowed_domains": ["a.example"]}),
        ["provider_options.gemini.google_search.max_uses", "provider_options.gemini.google_search.allowed_domains"],
    ),
    "domains left out": (
        own(google_search={"blocked_domains": ["a.example"]}),
        ["provider_options.gemini.google_search.blocked_domains"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_without_words_are_refused_or_dropped(name: str) -> None:
    fields, refused = REFUSED[name]
    assert refused_fields(DIALECT, attempt_with(**fields)) == refused
    _, notices = asked(DIALECT, attempt_with(drop=True, **fields))
    assert [subject for _, subject in notices] == refused


def test_stops_that_are_too_many_are_cut_where_they_may_be() -> None:
    body, _ = asked(DIALECT, attempt_with(drop=True, stop=tuple("abcdef")))
    assert body["generationConfig"] == {"stopSequences": list("abcde")}


@pytest.mark.parametrize("seed", [2**31 - 1, -(2**31)])
def test_the_largest_seeds_pass(seed: int) -> None:
    assert asked(DIALECT, attempt_with(seed=seed))[0]["generationConfig"] == {"seed": seed}


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        (ReasoningOptions(effort="low"), ["reasoning.effort"]),
        (ReasoningOptions(budget_token_count=100), ["reasoning.budget_token_count"]),
    ],
)
def test_models_that_do_not_think_cannot_be_told_to(options: ReasoningOptions, fields: list[str]) -> None:
    assert refused_fields(DIALECT, attempt_with(ReasoningStyle.NONE, reasoning=options)) == fields


def test_a_model_that_is_forced_to_answer_runs_no_search() -> None:
    fields = {"tools": [NOW], "response_format": SCHEMA, **own(google_search={}, code_execution={})}
    refused = ["provider_options.gemini.google_search", "provider_options.gemini.code_execution"]
    assert refused_fields(DIALECT, attempt_with(ReasoningStyle.BUDGET, **fields)) == refused


def test_vertex_leaves_domains_out() -> None:
    dialect = Gemini(Service(excludes_domains=True))
    body, notices = asked(dialect, attempt_with(**own(google_search={"blocked_domains": ["a.example"]})))
    assert body["tools"] == [{"googleSearch": {"excludeDomains": ["a.example"]}}]
    assert notices == []


@pytest.mark.parametrize(
    ("role", "media"),
    [
        (Role.USER, MediaPart("", data=b"x")),
        (Role.USER, MediaPart("image/png", uri="https://example.com/a.png")),
        (Role.SYSTEM, MediaPart("image/png", data=b"x")),
    ],
)
def test_media_that_cannot_be_sent_are_refused(role: Role, media: MediaPart) -> None:
    messages = [Message(role, [Part(media)]), HI]
    assert refused_fields(DIALECT, attempt_with(drop=True, messages=messages)) == ["messages[0].parts[0].media"]


@pytest.mark.parametrize(
    ("uri", "fetched"),
    [
        ("gs://bucket/a.png", True),
        ("https://generativelanguage.googleapis.com/v1beta/files/a", True),
        ("https://youtu.be/abc", True),
        ("https://www.youtube.com/watch?v=abc", True),
        ("https://m.youtube.com/shorts/abc", True),
        ("https://www.youtube.com/feed", False),
        ("https://youtube.com.example.com/watch?v=abc", False),
        ("https://generativelanguage.googleapis.com/v1beta/models/a", False),
        ("https://example.com/a.png", False),
        ("http://youtu.be/abc", False),
    ],
)
def test_the_vendor_fetches_what_is_its_own(uri: str, fetched: bool) -> None:
    assert DIALECT.fetches(MediaPart("", uri=uri)) is fetched


def test_the_vendor_fetches_no_bytes() -> None:
    assert not DIALECT.fetches(MediaPart("image/png", data=b"x"))
