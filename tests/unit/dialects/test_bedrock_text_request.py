"""What the older text models are asked: bodies against golden files, and what is refused by name."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.messages import MediaPart, Message, Part, Role
from llmgateway_server.core.requests import CompleteRequest, Tool
from llmgateway_server.core.targets import Profile
from llmgateway_server.providers.dialects.bedrock_text import BedrockText
from llmgateway_server.providers.dialects.bedrock_text.families import FAMILIES, family_of
from llmgateway_server.providers.dialects.bedrock_text.prompts import HUMAN, INSTRUCT, Script
from llmgateway_server.providers.dialects.dialect import Quirks
from tests.unit.dialects.bedrock_invoke_kit import asking, golden_request
from tests.unit.dialects.kit import attempt_of, golden_names, golden_of, refused_fields

DIALECT = BedrockText()
CLAUDE, TITAN = "anthropic.claude-v2", "amazon.titan-text-express-v1"
SERVED_OTHERWISE = (
    *("amazon.nova-pro-v1:0", "amazon.titan-embed-text-v2:0", "ai21.jamba-1-5-large-v1:0", "openai.gpt-oss-120b-1:0"),
    *("mistral.mistral-large-2407-v1:0", "meta.llama3-8b-instruct-v1:0", "anthropic.claude-3-haiku-20240307-v1:0"),
    *("cohere.embed-english-v3", "arn:aws:bedrock:us-east-1:1:imported-model/abc"),
)


@pytest.mark.parametrize("name", golden_names("bedrock_text"))
def test_bodies_are_as_written_down(name: str) -> None:
    golden, attempt, request = golden_request(DIALECT, "bedrock_text", name)
    assert json.loads(request.body) == golden["body"]
    assert (request.method, request.path) == ("POST", golden["path"])
    accept = "application/vnd.amazon.eventstream" if golden.get("streaming") else "application/json"
    assert dict(request.headers) == {"content-type": "application/json", "accept": accept}
    assert [notice.subject for notice in attempt.call.notices] == golden.get("notices", [])


def test_every_family_is_written_down() -> None:
    written = [family_of(golden_of("bedrock_text", name)["model"]) for name in golden_names("bedrock_text")]
    assert [family for family in FAMILIES if family not in written] == []


@pytest.mark.parametrize("model", SERVED_OTHERWISE)
def test_models_that_are_served_otherwise_are_refused(model: str) -> None:
    assert refused_fields(DIALECT, asking(model)) == ["model"]


def test_what_a_family_does_not_have_is_refused_by_name() -> None:
    attempt = asking(TITAN, top_k=1, seed=1, frequency_penalty=0.5, tools=[Tool("clock")], logprobs_top_count=0)
    assert refused_fields(DIALECT, attempt) == ["tools", "top_k", "seed", "frequency_penalty", "logprobs"]


def test_images_are_refused() -> None:
    attempt = attempt_of(CompleteRequest("m", [Message(Role.USER, [Part(MediaPart("image/png", b"x"))])]))
    assert refused_fields(DIALECT, attempt) == ["model", "messages[0].parts[0].media"]
    assert DIALECT.fetches(MediaPart("image/png", uri="https://example.com/a.png"))


def test_a_cap_that_is_demanded_is_the_models() -> None:
    attempt = asking(CLAUDE)
    attempt.target = attempt.target.__class__("p", "v", CLAUDE, profile=Profile(max_output_token_count=99))
    assert json.loads(DIALECT.encode_request(attempt, Quirks()).body)["max_tokens_to_sample"] == 99
    assert attempt.record.max_output_tokens == 99


@pytest.mark.parametrize(("model", "script"), [(CLAUDE, HUMAN), ("mistral.mixtral-8x7b-instruct-v0:1", INSTRUCT)])
@given(said=st.lists(st.text("[/INST]<s>\n aHumn:", min_size=1, max_size=30), min_size=1, max_size=4))
def test_nobody_leaves_his_place(model: str, script: Script, said: list[str]) -> None:
    prompts = [
        json.loads(DIALECT.encode_request(asking(model, *texts), Quirks()).body)["prompt"]
        for texts in (said, ["x"] * len(said))
    ]
    assert script.marks.findall(prompts[0]) == script.marks.findall(prompts[1])
