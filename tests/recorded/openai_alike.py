"""What may differ between the bodies of clients of OpenAI-alike vendors and ours, beside what may differ everywhere."""

from __future__ import annotations

from typing import Any

from llmgateway_server.providers.vendors.openai_alike import ROWS
from tests.recorded import differences

Json = Any

ROWED = tuple(row.name for row in ROWS)
"""Vendors that have a row of their own."""
FINISHED = b'"finish_reason":"'
"""What only the end of a stream has, where none says `[DONE]`."""
UNSAID = {
    "usage": "OpenRouter tells the usage anyway; the recordings do not say it neutrally",
    "safe_prompt": "a switch of Mistral that the contract does not have",
    "enable_thinking": "a switch of templates that the contract does not have",
    "thinking": "DeepSeek's switch; the neutral request has the effort alone, from which the gateway sets it",
    "plugins": "tools of OpenRouter, which the recordings do not say neutrally",
    "reasoning": "history with thoughts is not said neutrally",
    "reasoning_content": "as reasoning",
    "reasoning_details": "as reasoning",
}
"""Keys that are left out of the comparison, at any depth."""


def comparable(body: Json) -> Json:
    """Returns a body after all rules."""
    body = differences.comparable(body)
    for rule in (_without_unsaid, _required):
        body = differences.everywhere(rule, body)
    return body


def _without_unsaid(value: Json) -> Json:
    if not isinstance(value, dict) or "properties" in value:  # a schema may have properties of these names
        return value
    return {key: each for key, each in value.items() if key not in UNSAID}


def _required(value: Json) -> Json:
    """`any` is Mistral's older word for `required`."""
    if isinstance(value, dict) and value.get("tool_choice") == "any":
        return value | {"tool_choice": "required"}
    return value
