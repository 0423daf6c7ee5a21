"""What is particular to recordings of Bedrock's InvokeModel: bare prompts, and when a stream is whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.recorded import bedrock_converse, differences

Json = Any

TEXT_KEYS = {"prompt", "inputText", "message"}
"""Keys of a body that only the older text models have."""
UNSAID = {
    "stream": "the path tells it",
    "anthropic_beta": "the recordings do not say it neutrally",
}
"""Keys of the body that are left out of the comparison."""
SETTINGS = {"api_key": "recorded"}
TEMPLATES = (
    re.compile(
        r"<\|begin_of_text\|><\|start_header_id\|>user<\|end_header_id\|>\n\n(?P<said>.*)<\|eot_id\|>"
        r"<\|start_header_id\|>assistant<\|end_header_id\|>\n\n",
        re.DOTALL,
    ),
    re.compile(
        r"<\|begin_of_text\|><\|header_start\|>user<\|header_end\|>\n\n(?P<said>.*)<\|eot\|>"
        r"<\|header_start\|>assistant<\|header_end\|>\n\n",
        re.DOTALL,
    ),
    re.compile(r"<s>\[INST\] (?P<said>.*) \[/INST\]", re.DOTALL),
    re.compile(r"\n\nHuman: (?P<said>.*)\n\nAssistant:", re.DOTALL),
    re.compile(r"User: (?P<said>.*)\n(?:Bot|Chatbot|Assistant):", re.DOTALL),
)
"""What the gateway writes around a single question, so that the model knows who speaks."""
PROMPTS = ("prompt", "inputText")


def form(case: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns in which form a model was invoked, as the ids of some models do not tell; nothing for others."""
    if case["api"] != "invoke_model":
        return ()
    body = case["request"]["body"]
    if not isinstance(body, dict) or "anthropic." in case["model"] or body.keys().isdisjoint({"messages"}):
        return ("text" if isinstance(body, dict) and body.keys() & TEXT_KEYS else "messages",)
    return ("nova" if "amazon.nova" in case["model"] else "chat",)


def said(neutral: Json) -> Json:
    """Returns the request with bare prompts, which clients write without any roles, as what the user says.

    What was asked of a model that does not exist is not said neutrally: anything will do.
    """
    return {"messages": [{"role": "user", "parts": [{"text": "Hi"}]}]} | _without_raw_prompts(neutral)


def _without_raw_prompts(neutral: Json) -> Json:
    if isinstance(neutral, dict):
        if "raw_prompt" in neutral:
            return {"text": bare(neutral["raw_prompt"])}
        return {key: _without_raw_prompts(value) for key, value in neutral.items()}
    return [_without_raw_prompts(value) for value in neutral] if isinstance(neutral, list) else neutral


def bare(prompt: str) -> str:
    """Returns a prompt without the template around a single question."""
    found = next((found for template in TEMPLATES if (found := template.fullmatch(prompt))), None)
    return found["said"] if found else prompt


def comparable_of_nova(body: Json) -> Json:
    """Returns the body of a model that takes what Converse takes, after all rules; one schema is all that there is."""
    return bedrock_converse.comparable({key: value for key, value in body.items() if key != "schemaVersion"})


def comparable(body: Json) -> Json:
    """Returns the body after all rules; a prompt is compared without its template."""
    if isinstance(body, dict):
        body = {key: value for key, value in body.items() if key not in UNSAID}
        body |= {key: bare(body[key]) for key in PROMPTS if isinstance(body.get(key), str)}
    return differences.comparable(body)
