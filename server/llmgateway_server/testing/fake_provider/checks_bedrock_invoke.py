"""What InvokeModel checks of a request: Meta's prompts, the fields of the older text models, Anthropic's messages.

Source: the user guide of Amazon Bedrock, the pages of each model's parameters. The words of the messages are the
fake's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmgateway_server.testing.fake_provider.checks import LIST, OBJECT, TEXT, Asked, Kind, Refused, number, whole
from llmgateway_server.testing.fake_provider.checks_anthropic import check_body, check_count_body
from llmgateway_server.testing.fake_provider.checks_bedrock import check_converse, check_credentials
from llmgateway_server.testing.fake_provider.checks_bedrock_turns import refuse
from llmgateway_server.testing.fake_provider.checks_openai import check_chat

SAID = r"(?:(?!<\|\w{1,64}\|>).)*"


def _turns(begin: str, end: str, over: str) -> re.Pattern[str]:
    """Returns what a prompt looks like whose turns have a head and an end; nobody says special tokens."""
    turn = rf"<\|{begin}\|>(?:system|user|assistant)<\|{end}\|>\n\n{SAID}<\|{over}\|>"
    answer = rf"<\|{begin}\|>assistant<\|{end}\|>\n\n{SAID}"
    return re.compile(rf"<\|begin_of_text\|>(?:{turn})*{answer}", re.DOTALL)


LLAMA_PROMPTS = (_turns("start_header_id", "end_header_id", "eot_id"), _turns("header_start", "header_end", "eot"))
"""Of Llama 3 and of Llama 4."""
LLAMA_FIELDS: dict[str, Kind] = {
    "prompt": TEXT,
    "max_gen_len": whole(1),
    "temperature": number(0, 1),
    "top_p": number(0, 1),
    "images": LIST,
}
TEXT_FIELDS: dict[str, dict[str, Kind]] = {
    "anthropic.": {
        "prompt": TEXT,
        "max_tokens_to_sample": whole(1, nullable=False),
        "temperature": number(0, 1),
        "top_p": number(0, 1),
        "top_k": whole(0),
        "stop_sequences": LIST,
        "anthropic_version": TEXT,
    },
    "amazon.titan": {"inputText": TEXT, "textGenerationConfig": OBJECT},
    "cohere.command-r": {
        "message": TEXT,
        "chat_history": LIST,
        "preamble": TEXT,
        "max_tokens": whole(1),
        "temperature": number(0, 1),
        "p": number(0, 1),
        "k": whole(0, 500),
        "stop_sequences": LIST,
        "seed": whole(0),
        "frequency_penalty": number(0, 1),
        "presence_penalty": number(0, 1),
    },
    "cohere.": {
        "prompt": TEXT,
        "max_tokens": whole(1),
        "temperature": number(0, 5),
        "p": number(0, 1),
        "k": whole(0, 500),
        "stop_sequences": LIST,
        "stream": Kind((bool,)),
    },
    "ai21.": {
        "prompt": TEXT,
        "maxTokens": whole(0),
        "temperature": number(0, 1),
        "topP": number(0, 1),
        "stopSequences": LIST,
    },
    "mistral.": {
        "prompt": TEXT,
        "max_tokens": whole(1),
        "temperature": number(0, 1),
        "top_p": number(0, 1),
        "top_k": whole(1, 200),
        "stop": LIST,
    },
    "deepseek.": {
        "prompt": TEXT,
        "max_tokens": whole(1, 32_768),
        "temperature": number(0, 1),
        "top_p": number(0, 1),
        "stop": LIST,
    },
}
"""Fields by what the ids of a family hold; the first that fits counts."""
REQUIRED = {
    "anthropic.": ("prompt", "max_tokens_to_sample"),
    "amazon.titan": ("inputText",),
    "cohere.command-r": ("message",),
}
TITAN_CONFIG: dict[str, Kind] = {
    "maxTokenCount": whole(0),
    "temperature": number(0, 1),
    "topP": number(0, 1),
    "stopSequences": LIST,
}
VERSION = re.compile(r"20\d{2}-\d{2}-\d{2}")
HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"


def check_llama(asked: Asked) -> None:
    """Refuses what Meta's models refuse, and a prompt that is not what they were taught to read.

    Raises:
        Refused: the first fault.
    """
    check_credentials(asked)
    _check_fields(asked, LLAMA_FIELDS, ("prompt",))
    prompt = asked.body["prompt"]
    if prompt.startswith("<|begin_of_text|>") and not any(each.fullmatch(prompt) for each in LLAMA_PROMPTS):
        raise refuse("prompt: its special tokens are out of order")


def check_text(asked: Asked) -> None:
    """Refuses what the older text models refuse.

    Raises:
        Refused: the first fault.
    """
    check_credentials(asked)
    model = str(asked.body["model"]) if isinstance(asked.body, dict) else ""
    family = next(family for family in TEXT_FIELDS if family in model)
    _check_fields(asked, TEXT_FIELDS[family], REQUIRED.get(family, ("prompt",)))
    if family == "anthropic.":
        prompt = asked.body["prompt"]
        if HUMAN not in prompt or prompt.rfind(ASSISTANT) < prompt.rfind(HUMAN):
            raise refuse('prompt: must hold a "Human:" turn and end with an "Assistant:" turn')
    _check_inner(asked.body.get("textGenerationConfig") or {})


def check_nova(asked: Asked) -> None:
    """Refuses what Nova refuses: it takes what Converse takes, in a schema of its own."""
    if not isinstance(asked.body, Mapping) or asked.body.get("schemaVersion") != "messages-v1":
        raise refuse("The field schemaVersion is missing.")
    body = {name: value for name, value in asked.body.items() if name not in ("schemaVersion", "reasoningConfig")}
    config = {name: value for name, value in body.get("inferenceConfig", {}).items() if name != "topK"}
    check_converse(replace(asked, body={**body, "inferenceConfig": config} if config else body))


def check_chat_model(asked: Asked) -> None:
    """Refuses what models refuse that take chat completions; what the path says stands in no field."""
    if isinstance(asked.body, Mapping) and "stream" in asked.body:
        raise refuse("extraneous key [stream] is not permitted")
    check_chat(asked, check_credentials)


def check_bedrock_message(asked: Asked) -> None:
    """Refuses what Anthropic's models refuse behind InvokeModel.

    Raises:
        Refused: the first fault.
    """
    check_credentials(asked)
    if not isinstance(asked.body, dict):
        raise refuse("the body is not a JSON object", type="SerializationException")
    if not _is_version(asked.body.get("anthropic_version"), "bedrock-2023-05-31"):
        raise refuse("anthropic_version: missing or wrong")
    for name in ("stream", "service_tier", "container"):
        if name in asked.body:
            raise refuse(f"{name}: Extra inputs are not permitted")
    try:
        check_body(_hosted(asked, ("anthropic_version", "anthropic_beta")))
    except Refused as refused:
        raise refuse(refused.error.message) from refused


def check_vertex_message(asked: Asked) -> None:
    """Refuses what Anthropic's models refuse on Vertex.

    Raises:
        Refused: the first fault.
    """
    _check_vertex(asked)
    check_body(_hosted(asked, ("anthropic_version",)))


def check_vertex_count(asked: Asked) -> None:
    """Refuses what a token count refuses on Vertex.

    Raises:
        Refused: the first fault.
    """
    _check_vertex(asked)
    check_count_body(_hosted(asked, ("anthropic_version",)))


def _check_vertex(asked: Asked) -> None:
    scheme, _, token = asked.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or not token or (asked.api_key and token != asked.api_key):
        raise refuse("authorization: missing or wrong", 401, "authentication_error")
    if not isinstance(asked.body, dict) or not _is_version(asked.body.get("anthropic_version"), "vertex-2023-10-16"):
        raise refuse("anthropic_version: missing or wrong", type="invalid_request_error")


def _is_version(given: Any, documented: str) -> bool:
    """Tells whether a version is the host's own, or one of Anthropic's, which its newer clients send everywhere."""
    return given == documented or (isinstance(given, str) and VERSION.fullmatch(given) is not None)


def _hosted(asked: Asked, own: tuple[str, ...]) -> Asked:
    """Returns a request without the fields that only its host has; addresses are not fetched there."""
    if '"type": "url"' in str(asked.body).replace("'", '"'):
        raise refuse("source: addresses are not fetched here", type="invalid_request_error")
    return replace(asked, body={name: value for name, value in asked.body.items() if name not in own})


def _check_fields(asked: Asked, fields: Mapping[str, Kind], required: tuple[str, ...]) -> None:
    body: Any = asked.body
    if not isinstance(body, dict):
        raise refuse("the body is not a JSON object", type="SerializationException")
    if asked.models and body["model"] not in asked.models:
        raise refuse("The provided model identifier is invalid.")
    for name in required:
        if name not in body:
            raise refuse(f"#: required key [{name}] not found")
    for name, value in body.items():
        if name == "model":
            continue
        if name not in fields:
            raise refuse(f"#: extraneous key [{name}] is not permitted")
        if fault := fields[name].fault(value):
            raise refuse(f"{name}: {fault}")


def _check_inner(config: Mapping[str, Any]) -> None:
    for name, value in config.items():
        if name not in TITAN_CONFIG or TITAN_CONFIG[name].fault(value):
            raise refuse(f"textGenerationConfig.{name}: unknown or wrong")
