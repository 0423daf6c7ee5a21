"""What may differ between the body that a real client sent and the gateway's: the whole list, with its reasons.

Every rule rewrites a body, the client's as well as ours; whatever they do not make equal is a mistake.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Json = Any
Rule = tuple[str, Callable[[Json], Json]]

UNSAID = {
    "n": "one answer is all that the contract offers",
    "functions": "the contract has tools only; recordings with these are older",
    "function_call": "as functions",
    "user": "the recordings do not say it neutrally",
    "service_tier": "as user",
    "store": "as user",
    "metadata": "as user",
    "include_reasoning": "as user",
    "cache_control": "as user",
    "stream": "false is what its absence means; the path and the answer show whether it was true",
    "stream_options": "the gateway always asks for the usage",
}
"""Keys that are left out of the comparison, at any depth."""
NEUTRAL_VALUES = {
    "description": "",
    "is_error": False,
    "detail": "auto",
}
"""Keys whose value is what their absence means."""
OWN_TOOLS = (
    *("web_search", "code_execution", "bash", "text_editor", "computer", "memory", "web_fetch", "tool_search"),
    "openrouter:",
)
"""Kinds of tools that a vendor runs by itself; the recordings do not say them neutrally."""


def comparable(body: Json) -> Json:
    """Returns the body after all rules."""
    for _, rule in RULES:
        body = everywhere(rule, body)
    return body


def everywhere(rule: Callable[[Json], Json], value: Json) -> Json:
    """Applies a rule from the leaves upwards."""
    if isinstance(value, dict):
        value = {key: everywhere(rule, each) for key, each in value.items()}
    elif isinstance(value, list):
        value = [everywhere(rule, each) for each in value]
    return rule(value)


def _without_null(value: Json) -> Json:
    return {key: each for key, each in value.items() if each is not None} if isinstance(value, dict) else value


def _without_unsaid(value: Json) -> Json:
    if not isinstance(value, dict) or "properties" in value:  # a schema may have properties of these names
        return value
    return {
        key: each
        for key, each in value.items()
        if key not in UNSAID and not (key in NEUTRAL_VALUES and each == NEUTRAL_VALUES[key])
    }


def _one_name_for_the_cap(value: Json) -> Json:
    if isinstance(value, dict) and "max_completion_tokens" in value:
        return {("max_tokens" if key == "max_completion_tokens" else key): each for key, each in value.items()}
    return value


def _texts_as_blocks(value: Json) -> Json:
    """`content` and `system` of a text alone."""
    if isinstance(value, dict):
        return {
            key: [{"type": "text", "text": each}] if key in ("content", "system") and isinstance(each, str) else each
            for key, each in value.items()
            if not (key == "content" and each in ("", []))
        }
    return value


def _stops_as_list(value: Json) -> Json:
    if isinstance(value, dict) and isinstance(value.get("stop"), str):
        return value | {"stop": [value["stop"]]}
    return value


def _arguments_as_json(value: Json) -> Json:
    """Arguments and results are JSON text, written with other blanks."""
    if isinstance(value, dict) and isinstance(value.get("arguments"), str):
        return value | {"arguments": json.loads(value["arguments"] or "{}")}
    return value


def _without_own_tools(value: Json) -> Json:
    if not (isinstance(value, dict) and isinstance(value.get("tools"), list)):
        return value
    tools = [tool for tool in value["tools"] if not str(tool.get("type", "")).startswith(OWN_TOOLS)]
    rest = {key: each for key, each in value.items() if key != "tools" and (tools or key != "tool_choice")}
    return rest | ({"tools": tools} if tools else {})


def _numbers_alike(value: Json) -> Json:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


RULES: tuple[Rule, ...] = (
    ("null means absent", _without_null),
    ("what the neutral request does not say, and what absence means", _without_unsaid),
    ("a text alone may stand as a string or as one block; no content may be left out", _texts_as_blocks),
    ("the cap on tokens had another name before", _one_name_for_the_cap),
    ("one stop text may stand without a list", _stops_as_list),
    ("arguments are JSON text, which may be written with other blanks", _arguments_as_json),
    ("tools that the vendor runs by itself are not said neutrally", _without_own_tools),
    ("1 and 1.0 are one number", _numbers_alike),
)
