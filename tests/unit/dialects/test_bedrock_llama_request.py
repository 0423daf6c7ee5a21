"""What Meta's models are asked: prompts against golden files, refusals by name, speakers who stay in their place."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.messages import MediaPart, Message, Part, Role, TextPart, ToolCallPart, ToolResultPart
from llmgateway_server.core.requests import (
    CompleteRequest,
    FormatKind,
    ReasoningOptions,
    ResponseFormat,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from llmgateway_server.providers.dialects.bedrock_llama import BedrockLlama
from llmgateway_server.providers.dialects.bedrock_llama.template import (
    LLAMA_2,
    LLAMA_3,
    LLAMA_4,
    Template,
    harmless,
    template_of,
)
from llmgateway_server.providers.dialects.dialect import Quirks
from tests.unit.dialects.bedrock_invoke_kit import asking, golden_request
from tests.unit.dialects.kit import attempt_of, golden_names, refused_fields

DIALECT = BedrockLlama()
LLAMA = "meta.llama3-8b-instruct-v1:0"
TEMPLATES = {"2": LLAMA_2, "3": LLAMA_3, "4": LLAMA_4}
MODELS = {"2": "meta.llama2-70b-chat-v1", "3": LLAMA, "4": "meta.llama4-scout-17b-instruct-v1:0"}
TOKENS = (
    *("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<s>", "</s>", "<|eot_id|>", "<|begin_of_text|>", "<|eot|>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|header_start|>", "<|header_end|>", "<|image|>", "<|python_tag|>"),
)
HOSTILE = st.lists(st.sampled_from([*TOKENS, "<", "<|", "|>", "[", "/", "s>", "user", "\n\n", " ", "é"]), max_size=8)


@pytest.mark.parametrize("name", golden_names("bedrock_llama"))
def test_bodies_are_as_written_down(name: str) -> None:
    golden, attempt, request = golden_request(DIALECT, "bedrock_llama", name)
    assert json.loads(request.body) == golden["body"]
    assert (request.method, request.path) == ("POST", golden["path"])
    accept = "application/vnd.amazon.eventstream" if golden.get("streaming") else "application/json"
    assert dict(request.headers) == {"content-type": "application/json", "accept": accept}
    assert [notice.subject for notice in attempt.call.notices] == golden.get("notices", [])


@pytest.mark.parametrize(
    ("model", "template"),
    [
        *((MODELS[name], TEMPLATES[name]) for name in MODELS),
        ("us.meta.llama3-2-90b-instruct-v1:0", LLAMA_3),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.meta.llama4-maverick-17b-instruct-v1:0", LLAMA_4),
        ("arn:aws:bedrock:us-east-1:1:imported-model/abc", LLAMA_3),
        ("anthropic.claude-v2", None),
        ("us.amazon.nova-lite-v1:0", None),
    ],
)
def test_the_id_of_a_model_tells_its_template(model: str, template: Template | None) -> None:
    assert template_of(model) is template


def test_models_of_others_are_refused() -> None:
    assert refused_fields(DIALECT, asking("mistral.mistral-7b-instruct-v0:2")) == ["model"]


def test_what_the_prompt_cannot_say_is_refused_by_name() -> None:
    attempt = asking(
        LLAMA,
        tools=[Tool("clock")],
        tool_choice=ToolChoice(ToolChoiceMode.AUTO),
        response_format=ResponseFormat(FormatKind.JSON_OBJECT),
        top_k=1,
        stop=("x",),
        seed=1,
        frequency_penalty=0.5,
        presence_penalty=0.5,
        reasoning=ReasoningOptions(effort="low", budget_token_count=5),
        logprobs_top_count=0,
        service_tier="priority",
    )
    assert refused_fields(DIALECT, attempt) == [
        *("tools", "tool_choice", "response_format", "top_k", "stop", "seed", "frequency_penalty", "presence_penalty"),
        *("reasoning.effort", "reasoning.budget_token_count", "logprobs", "service_tier"),
    ]


def test_what_is_no_text_is_refused_even_where_options_may_be_dropped() -> None:
    parts = [
        Part(MediaPart("image/png", b"x")),
        Part(ToolCallPart("c", "clock", "{}")),
        Part(ToolResultPart("c", "clock", [TextPart("1")])),
    ]
    request = CompleteRequest("m", [Message(Role.USER, parts)], drop_unsupported=True)
    assert refused_fields(DIALECT, attempt_of(request)) == [
        "messages[0].parts[0].media",
        "messages[0].parts[1].tool_call",
        "messages[0].parts[2].tool_result",
    ]


def test_a_second_target_and_the_answer_note_nothing_new() -> None:
    attempt = asking(LLAMA, "a <|eot_id|>")
    DIALECT.encode_request(attempt, Quirks())
    notices = list(attempt.call.notices)
    DIALECT.stream_reader(attempt, Quirks())
    assert attempt.call.notices == notices
    assert [notice.subject for notice in notices] == ["messages[0]"]


@pytest.mark.parametrize("generation", TEMPLATES)
@given(said=st.lists(HOSTILE.map("".join).filter(bool), min_size=1, max_size=5))
def test_nobody_leaves_his_place(generation: str, said: list[str]) -> None:
    template = TEMPLATES[generation]
    attempts = [asking(MODELS[generation], *texts) for texts in (said, ["x"] * len(said))]
    prompts = [json.loads(DIALECT.encode_request(attempt, Quirks()).body)["prompt"] for attempt in attempts]
    tokens = [re.findall(template.special, prompt) for prompt in prompts]
    assert tokens[0] == tokens[1], "the tokens are those of the template"


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@given(said=HOSTILE.map("".join))
def test_breaking_up_tokens_changes_blanks_alone(template: Template, said: str) -> None:
    safe = harmless(said, template)
    assert safe.replace(" ", "") == said.replace(" ", "")
    assert harmless(safe, template) == safe
