"""What is asked of each vendor that speaks chat completions: how its row changes the body, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmgateway_server.core.calls import NoticeCode
from llmgateway_server.core.errors import RequestError
from llmgateway_server.core.messages import (
    MediaPart,
    Message,
    Part,
    ProviderState,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import (
    CompleteRequest,
    FormatKind,
    ReasoningOptions,
    ResponseFormat,
    Tool,
)
from llmgateway_server.core.targets import Profile, Target
from llmgateway_server.providers.profiles import profile_of
from llmgateway_server.providers.vendors import VENDORS
from llmgateway_server.providers.vendors.openai_alike import ROWS
from tests.unit.dialects.kit import Json, attempt_of

HI = Message(Role.USER, [Part(TextPart("Hi"))])
PDF = MediaPart("application/pdf", data=b"x", filename="a.pdf")
IMAGE = MediaPart("image/png", data=b"x")
SOUND = MediaPart("audio/wav", data=b"x")
SCHEMA = ResponseFormat(FormatKind.JSON_SCHEMA, "answer", schema_json='{"type":"object"}')


def attempt(vendor: str, request: CompleteRequest, model: str = "some-model", *, streaming: bool = False) -> Any:
    target = Target("p", vendor, model, profile=profile_of(vendor, model))
    return attempt_of(request, target, streaming=streaming)


def asked(
    vendor: str,
    messages: list[Message] | None = None,
    model: str = "some-model",
    *,
    streaming: bool = False,
    **more: Any,
) -> Json:
    request = CompleteRequest("m", messages or [HI], **more)
    return encoded(vendor, attempt(vendor, request, model, streaming=streaming))


def encoded(vendor: str, made: Any) -> Json:
    row = VENDORS[vendor]
    body: Json = json.loads(row.dialects[0].encode_request(made, row.quirks).body)
    return body


def refused(vendor: str, messages: list[Message] | None = None, **more: Any) -> list[str]:
    with pytest.raises(RequestError) as caught:
        asked(vendor, messages, **more)
    assert caught.value.reason is Reason.UNSUPPORTED_OPTION
    return [violation.field for violation in caught.value.violations]


OPTIONS: dict[str, Any] = {
    "top_k": 5,
    "seed": 7,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "logprobs_top_count": 2,
    "service_tier": "flex",
    "end_user_id": "u",
    "provider_options": {
        "openai_chat": {
            "store": True,
            "prompt_cache_key": "k",
            "logit_bias": {"1": 1},
            "verbosity": "low",
            "predicted_text": "x",
            "web_search": {},
        }
    },
}
OWN = "provider_options.openai_chat."
NOT_TAKEN = {
    "azure": {"top_k"},
    "groq": {
        "top_k",
        "logprobs",
        "store",
        "prompt_cache_key",
        "verbosity",
        "web_search",
        "logit_bias",
        "predicted_text",
    },
    "mistral": {
        *("top_k", "logprobs", "service_tier", "end_user_id"),
        *("store", "prompt_cache_key", "verbosity", "web_search", "logit_bias"),
    },
    "deepseek": {
        *("top_k", "seed", "service_tier", "end_user_id"),
        *("store", "prompt_cache_key", "verbosity", "web_search", "logit_bias", "predicted_text"),
    },
    "xai": {
        *("top_k", "service_tier", "store", "prompt_cache_key", "verbosity", "web_search", "logit_bias"),
        "predicted_text",
    },
    "openrouter": {"store", "prompt_cache_key"},
    "together": {
        *("logprobs", "service_tier", "end_user_id"),
        *("store", "prompt_cache_key", "verbosity", "web_search", "predicted_text"),
    },
    "fireworks": {"store", "prompt_cache_key", "verbosity", "web_search"},
    "perplexity": {
        *("seed", "logprobs", "service_tier", "end_user_id"),
        *("store", "prompt_cache_key", "verbosity", "logit_bias", "predicted_text"),
    },
    "cerebras": {
        *("top_k", "frequency_penalty", "presence_penalty"),
        *("store", "prompt_cache_key", "verbosity", "web_search", "logit_bias"),
    },
    "huggingface": {
        *("top_k", "service_tier", "end_user_id"),
        *("store", "prompt_cache_key", "verbosity", "web_search", "logit_bias", "predicted_text"),
    },
    "vllm": {"service_tier", "store", "prompt_cache_key", "verbosity", "web_search", "predicted_text"},
    "llama.cpp": {
        *("service_tier", "end_user_id", "store", "prompt_cache_key", "verbosity", "web_search", "predicted_text"),
    },
    "lm-studio": {
        *("logprobs", "service_tier", "end_user_id"),
        *("store", "prompt_cache_key", "verbosity", "web_search", "predicted_text"),
    },
    "openai-compatible": set[str](),
}


@pytest.mark.parametrize("vendor", NOT_TAKEN)
def test_options_that_a_vendor_does_not_take_are_refused_by_name(vendor: str) -> None:
    expected = NOT_TAKEN[vendor]
    if not expected:
        assert asked(vendor, **OPTIONS)["seed"] == 7
        return
    found = refused(vendor, **OPTIONS)
    assert len(found) == len(set(found))
    assert {path.removeprefix(OWN) for path in found} == expected
    assert {path for path in found if path.startswith(OWN)} == {
        OWN + path for path in expected & OPTIONS["provider_options"]["openai_chat"].keys()
    }


@pytest.mark.parametrize("vendor", NOT_TAKEN)
def test_options_that_may_be_dropped_are_not_sent(vendor: str) -> None:
    made = attempt(vendor, CompleteRequest("m", [HI], drop_unsupported=True, **OPTIONS))
    body = encoded(vendor, made)
    noticed = {notice.subject.removeprefix(OWN) for notice in made.call.notices}
    assert noticed == NOT_TAKEN[vendor]
    names = {"logprobs", "predicted_text", "web_search", "end_user_id"}
    assert not (noticed - names) & body.keys()
    assert ("top_logprobs" in body) is ("logprobs" in body) is ("logprobs" not in noticed)


def test_every_row_is_in_the_table() -> None:
    assert set(NOT_TAKEN) == {row.name for row in ROWS} | {"azure", "openai-compatible"}


def test_the_seed_of_mistral_has_another_name() -> None:
    body = asked("mistral", seed=7, max_output_tokens=9)
    assert (body["random_seed"], body["max_tokens"]) == (7, 9)
    assert "seed" not in body


@pytest.mark.parametrize(
    ("vendor", "name"),
    [
        ("azure", "max_completion_tokens"),
        ("groq", "max_completion_tokens"),
        ("xai", "max_completion_tokens"),
        ("cerebras", "max_completion_tokens"),
        ("deepseek", "max_tokens"),
        ("vllm", "max_tokens"),
    ],
)
def test_the_cap_has_the_name_that_the_vendor_knows(vendor: str, name: str) -> None:
    assert asked(vendor, max_output_tokens=9)[name] == 9


@pytest.mark.parametrize("vendor", [row.name for row in ROWS])
def test_usage_is_asked_for_where_the_vendor_knows_the_option(vendor: str) -> None:
    body = asked(vendor, streaming=True)
    assert body["stream"] is True
    assert ("stream_options" in body) is (vendor not in ("mistral", "perplexity"))


@pytest.mark.parametrize("vendor", ["azure", *(row.name for row in ROWS)])
def test_developers_speak_as_the_system(vendor: str) -> None:
    [said] = asked(vendor, [Message(Role.DEVELOPER, [Part(TextPart("Be kind."))])])["messages"]
    assert said["role"] == "system"


@pytest.mark.parametrize(("vendor", "most"), [("groq", 4), ("deepseek", 16), ("cerebras", 4), ("fireworks", 4)])
def test_no_more_stops_than_the_vendor_takes(vendor: str, most: int) -> None:
    stops = tuple(map(str, range(most)))
    assert asked(vendor, stop=stops)["stop"] == list(stops)
    assert refused(vendor, stop=(*stops, "x")) == ["stop"]


# ---------------------------------------------------------------------------------------------------------------------
# Content
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vendor", "kinds"),
    [
        ("azure", "isd"),
        ("mistral", "isd"),
        ("openrouter", "isd"),
        ("vllm", "is"),
        ("together", "is"),
        ("groq", "i"),
        ("perplexity", "i"),
        ("deepseek", ""),
        ("cerebras", ""),
    ],
)
def test_media_that_a_vendor_does_not_take_are_refused(vendor: str, kinds: str) -> None:
    for kind, media in (("i", IMAGE), ("s", SOUND), ("d", PDF)):
        messages = [Message(Role.USER, [Part(TextPart("Look")), Part(media)])]
        if kind in kinds:
            assert len(asked(vendor, messages)["messages"][0]["content"]) == 2
        else:
            assert refused(vendor, messages) == ["messages[0].parts[1].media"]


def test_documents_of_mistral() -> None:
    [said] = asked("mistral", [Message(Role.USER, [Part(PDF)])])["messages"]
    address = {"document_url": "data:application/pdf;base64,eA==", "document_name": "a.pdf"}
    assert said["content"] == [{"type": "document_url", **address}]


def test_texts_are_one_text_for_vendors_that_know_no_lists() -> None:
    two = [Message(Role.USER, [Part(TextPart("a")), Part(TextPart("b"))])]
    result = Message(Role.TOOL, [Part(ToolResultPart("c", "t", [TextPart("1"), TextPart("2")]))])
    called = Message(Role.ASSISTANT, [Part(ToolCallPart("c", "t", "{}"))])
    said = asked("deepseek", [*two, called, result])["messages"]
    assert (said[0]["content"], said[2]["content"]) == ("a\nb", "1\n2")
    assert [len(each["content"] or ()) for each in asked("groq", [*two, called, result])["messages"]] == [2, 0, 2]


@pytest.mark.parametrize("vendor", ["groq", "mistral", "deepseek"])
def test_a_refusal_goes_back_as_text(vendor: str) -> None:
    made = attempt(vendor, CompleteRequest("m", [HI, Message(Role.ASSISTANT, [Part(RefusalPart("No."))]), HI]))
    assert encoded(vendor, made)["messages"][1] == {"role": "assistant", "content": "No."}
    assert [notice.subject for notice in made.call.notices] == ["messages[1].parts[0].refusal"]


def test_mistral_knows_no_names_of_speakers() -> None:
    assert refused("mistral", [Message(Role.USER, [Part(TextPart("Hi"))], name="ann")]) == ["messages[0].name"]
    assert asked("groq", [Message(Role.USER, [Part(TextPart("Hi"))], name="ann")])["messages"][0]["name"] == "ann"


# ---------------------------------------------------------------------------------------------------------------------
# Tools and formats
# ---------------------------------------------------------------------------------------------------------------------


def turns(call_id: str) -> list[Message]:
    return [
        HI,
        Message(Role.ASSISTANT, [Part(ToolCallPart(call_id, "t", "{}"))]),
        Message(Role.TOOL, [Part(ToolResultPart(call_id, "t", [TextPart("1")]))]),
    ]


def ids(vendor: str, call_id: str) -> tuple[str, str]:
    _, called, answered = asked(vendor, turns(call_id))["messages"]
    return called["tool_calls"][0]["id"], answered["tool_call_id"]


@pytest.mark.parametrize("foreign", ["toolu_01A09q90qw90lq917835lq9", "call_1", "x" * 64, "abc-defgh", "ü" * 9])
def test_foreign_ids_become_ids_of_mistral_and_stay_the_same(foreign: str) -> None:
    one, other = ids("mistral", foreign)
    assert one == other == ids("mistral", foreign)[0]
    assert len(one) == 9
    assert one.isalnum()
    assert one.isascii()
    assert one != ids("mistral", foreign + "2")[0]


def test_ids_that_a_vendor_takes_stay() -> None:
    assert ids("mistral", "vAKGXGFZD") == ("vAKGXGFZD", "vAKGXGFZD")
    assert ids("openai", "toolu_01A09q90qw90lq917835lq9")[0] == "toolu_01A09q90qw90lq917835lq9"
    assert ids("openai", "x" * 40)[0] == "x" * 40
    assert len(ids("openai", "call_2b7e1516-28ae-4d2a-6abf-7158809cf4f3_1")[0]) == 9


def test_perplexity_has_no_tools() -> None:
    tool = Tool("t")
    assert refused("perplexity", tools=[tool]) == ["tools"]
    assert refused("perplexity", tools=[tool], drop_unsupported=True) == ["tools"]
    assert refused("perplexity", turns("c")) == ["messages[1].parts[0].tool_call", "messages[2].parts[0].tool_result"]


@pytest.mark.parametrize(
    ("vendor", "model", "native"),
    [
        ("groq", "openai/gpt-oss-120b", True),
        ("groq", "llama-3.3-70b-versatile", False),
        ("deepseek", "deepseek-v4-pro", False),
        ("mistral", "mistral-small-2603", True),
        ("perplexity", "sonar", True),
        ("azure", "gpt-4o", True),
        ("azure", "gpt-4", False),
    ],
)
def test_a_schema_is_followed_natively_or_by_a_forced_tool(vendor: str, model: str, native: bool) -> None:
    body = asked(vendor, model=model, response_format=SCHEMA)
    if native:
        assert body["response_format"]["type"] == "json_schema"
        assert "tools" not in body
    else:
        assert [tool["function"]["name"] for tool in body["tools"]] == ["answer"]
        assert body["tool_choice"]["function"]["name"] == "answer"


def test_any_json_object_by_a_forced_tool_where_the_vendor_has_no_word_for_it() -> None:
    wanted = ResponseFormat(FormatKind.JSON_OBJECT)
    assert asked("lm-studio", response_format=wanted)["tools"][0]["function"]["parameters"] == {"type": "object"}
    assert asked("vllm", response_format=wanted)["response_format"] == {"type": "json_object"}


# ---------------------------------------------------------------------------------------------------------------------
# Reasoning
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vendor", "options", "sent"),
    [
        ("groq", {"effort": "low"}, {"reasoning_effort": "low"}),
        ("groq", {"effort": "max"}, {"reasoning_effort": "high"}),
        ("openrouter", {"effort": "high"}, {"reasoning": {"effort": "high"}}),
        ("openrouter", {"budget_token_count": 2000}, {"reasoning": {"max_tokens": 2000}}),
        ("openrouter", {"include_text": False}, {"reasoning": {"exclude": True}}),
        ("openrouter", {}, {}),
        ("deepseek", {"effort": "none"}, {"thinking": {"type": "disabled"}}),
        ("deepseek", {"effort": "high"}, {"thinking": {"type": "enabled"}, "reasoning_effort": "high"}),
        ("deepseek", {"effort": "max"}, {"thinking": {"type": "enabled"}, "reasoning_effort": "max"}),
        ("deepseek", {}, {}),
    ],
)
def test_how_much_to_reason(vendor: str, options: dict[str, Any], sent: Json) -> None:
    body = asked(vendor, reasoning=ReasoningOptions(**options))
    assert {key: value for key, value in body.items() if key not in ("model", "messages")} == sent


def test_what_cannot_be_said_of_reasoning_is_refused() -> None:
    for vendor in ("groq", "deepseek"):
        found = refused(vendor, reasoning=ReasoningOptions(budget_token_count=9, include_text=True))
        assert found == ["reasoning.budget_token_count", "reasoning.include_text"]
    both = ReasoningOptions(effort="low", budget_token_count=9)
    assert refused("openrouter", reasoning=both) == ["reasoning.effort"]


DETAILS = [{"type": "reasoning.encrypted", "data": "c2VjcmV0", "index": 0}]


def thought(state: ProviderState | None = None) -> Message:
    parts = [Part(ReasoningPart("Hm."), state), Part(TextPart("Yes")), Part(ToolCallPart("c12345678", "t", "{}"))]
    return Message(Role.ASSISTANT, parts)


def told(vendor: str, message: Message) -> tuple[Json, list[tuple[NoticeCode, str]]]:
    made = attempt(vendor, CompleteRequest("m", [HI, message]))
    said: Json = encoded(vendor, made)["messages"][1]
    return said, [(notice.code, notice.subject) for notice in made.call.notices]


def test_reasoning_goes_back_where_the_vendor_wants_it() -> None:
    deepseek, _ = told("deepseek", thought())
    assert deepseek["reasoning_content"] == "Hm."
    mistral, _ = told("mistral", thought())
    assert mistral["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
        {"type": "text", "text": "Yes"},
    ]
    groq, notices = told("groq", thought())
    assert groq["content"] == "Yes"
    assert notices == [(NoticeCode.OPTION_DROPPED, "messages[1].parts[0].reasoning")]


def test_deepseek_wants_the_field_beside_every_call() -> None:
    called, _ = told("deepseek", Message(Role.ASSISTANT, [Part(ToolCallPart("c", "t", "{}"))]))
    assert called["reasoning_content"] == ""
    spoken, _ = told("deepseek", Message(Role.ASSISTANT, [Part(TextPart("Yes"))]))
    assert "reasoning_content" not in spoken


def test_details_go_back_to_their_vendor_alone() -> None:
    state = ProviderState("openrouter", json.dumps(DETAILS).encode())
    own, notices = told("openrouter", thought(state))
    assert (own["reasoning_details"], notices) == (DETAILS, [])
    assert "reasoning" not in own
    _, notices = told("deepseek", thought(state))
    assert notices == [(NoticeCode.PROVIDER_STATE_DROPPED, "messages[1].parts[0].provider_state")]


@pytest.mark.parametrize("state", [ProviderState("anthropic", b"sig"), ProviderState("openrouter", b"{")])
def test_state_that_is_not_the_vendors_is_dropped_with_a_notice(state: ProviderState) -> None:
    said, notices = told("openrouter", thought(state))
    assert said["reasoning"] == "Hm."
    assert notices == [(NoticeCode.PROVIDER_STATE_DROPPED, "messages[1].parts[0].provider_state")]


def test_images_are_sent_to_those_who_do_not_fetch() -> None:
    remote = MediaPart("image/png", uri="https://example.com/a.png")
    assert VENDORS["vllm"].dialects[0].fetches(remote)
    assert not VENDORS["lm-studio"].dialects[0].fetches(remote)


def test_a_model_that_nobody_knows_gets_what_most_take() -> None:
    profile = profile_of("together", "new/unheard-of")
    assert profile == Profile(top_effort="high")
