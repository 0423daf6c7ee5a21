"""What Responses check of a request.

Source: OpenAI's API reference and its recorded refusals. The words of the messages are the fake's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmgateway_server.testing.fake_provider.checks import (
    ANY,
    FLAG,
    LIST,
    OBJECT,
    TEXT,
    Asked,
    Kind,
    number,
    objects,
    whole,
    word,
)
from llmgateway_server.testing.fake_provider.checks_openai import (
    TIER,
    check_choice,
    check_content,
    check_function,
    check_head,
    check_schema,
    refuse,
)

COUNT_FIELDS: dict[str, Kind] = {
    "conversation": ANY,
    "input": Kind((str, list)),
    "instructions": TEXT,
    "model": TEXT,
    "parallel_tool_calls": FLAG,
    "personality": ANY,
    "previous_response_id": TEXT,
    "reasoning": OBJECT,
    "text": OBJECT,
    "tool_choice": Kind((str, dict)),
    "tools": LIST,
    "truncation": word("auto", "disabled"),
}
"""Fields of a token count."""
RESPONSE_FIELDS: dict[str, Kind] = {
    **{name: kind for name, kind in COUNT_FIELDS.items() if name != "personality"},
    "access_programs": OBJECT,
    "background": FLAG,
    "context_management": LIST,
    "image": OBJECT,
    "include": LIST,
    "max_output_tokens": whole(16),
    "max_tool_calls": whole(1),
    "metadata": OBJECT,
    "moderation": OBJECT,
    "prompt": OBJECT,
    "prompt_cache_key": TEXT,
    "prompt_cache_options": OBJECT,
    "prompt_cache_retention": TEXT,
    "safety_identifier": TEXT,
    "service_tier": Kind((str,), words=TIER.words | {"ultrafast"}),
    "store": FLAG,
    "stream": FLAG,
    "stream_options": OBJECT,
    "temperature": number(0, 2),
    "top_logprobs": whole(0, 20),
    "top_p": number(0, 1),
    "user": TEXT,
}
"""Fields of a response."""
INCLUDES = {
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
}
INPUT_TYPES = {"input_text", "input_image", "input_file"}
OUTPUT_TYPES = {"output_text", "refusal"}
CONTENT_TYPES = {"user": INPUT_TYPES, "system": INPUT_TYPES, "developer": INPUT_TYPES, "assistant": OUTPUT_TYPES}
ITEM_TYPES = {"message", "function_call", "function_call_output", "reasoning", "web_search_call", "item_reference"}
"""Those that the fake follows; the other tools of the vendor are not played."""


def check_response(asked: Asked) -> None:
    """Refuses what Responses refuse.

    Raises:
        Refused: the first fault.
    """
    check_head(asked, RESPONSE_FIELDS, ("model", "input"), no_model_status=400)
    body = asked.body
    unknown = [name for name in body.get("include") or () if name not in INCLUDES]
    if unknown:
        raise refuse("include", "There is nothing of that name to include.", "invalid_value")
    previous = body.get("previous_response_id")
    if previous is not None and previous not in asked.memory.response_ids:
        raise refuse("previous_response_id", "There is no such response.", "previous_response_not_found")
    _check_rest(asked, continued=previous is not None)


def check_count(asked: Asked) -> None:
    """Refuses what a token count refuses.

    Raises:
        Refused: the first fault.
    """
    check_head(asked, COUNT_FIELDS, ("model", "input"), no_model_status=400)
    _check_rest(asked, continued=False)


def _check_rest(asked: Asked, *, continued: bool) -> None:
    if isinstance(asked.body["input"], list):
        _check_items(asked, continued=continued)
    _check_tools(asked.body)
    match (asked.body.get("text") or {}).get("format"):
        case None | {"type": "text" | "json_object"}:
            pass
        case {"type": "json_schema"} as wanted:
            check_schema(wanted, "text.format.schema", "text.format")
        case _:
            raise refuse("text.format", "The format is unknown.", "invalid_value")


def _check_items(asked: Asked, *, continued: bool) -> None:
    """Calls and their outputs belong together; what continues a response may answer calls that are not shown."""
    items = asked.body["input"]
    if not items:
        raise refuse("input", "There are no items.", "empty_array")
    called: set[str] = set()
    answered: set[str] = set()
    for index, item in enumerate(items):
        param = f"input[{index}]"
        kind = item.get("type", "message") if isinstance(item, dict) else None
        if kind not in ITEM_TYPES:
            raise refuse(f"{param}.type", "The item is of no known type.", "invalid_value")
        match kind:
            case "message":
                _check_message(item, param)
            case "function_call":
                if not (item.get("call_id") and item.get("name") and isinstance(item.get("arguments"), str)):
                    raise refuse(param, "The call lacks its id, name or arguments.", "missing_required_parameter")
                called.add(item["call_id"])
            case "function_call_output":
                if item.get("call_id") not in called and not continued:
                    raise refuse("input", "An output answers no call before it.")
                answered.add(item["call_id"])
            case "reasoning":
                _check_reasoning(asked, item, param, last=index == len(items) - 1)
            case _:
                pass
    if called - answered:
        raise refuse("input", "A call has no output.")


def _check_message(item: Mapping[str, Any], param: str) -> None:
    role = item.get("role")
    if role not in CONTENT_TYPES:
        raise refuse(f"{param}.role", "The role is unknown.", "invalid_value")
    check_content(item.get("content"), f"{param}.content", CONTENT_TYPES[role])


def _check_reasoning(asked: Asked, item: Mapping[str, Any], param: str, *, last: bool) -> None:
    if not item.get("id") or not isinstance(item.get("summary"), list):
        raise refuse(param, "The reasoning lacks its id or summary.", "missing_required_parameter")
    sealed = item.get("encrypted_content")
    if sealed is not None and sealed not in asked.memory.sealed:
        raise refuse(None, "The encrypted content is not ours.", "invalid_encrypted_content")
    if last:
        raise refuse("input", "Reasoning comes without the item that it led to.")


def _check_tools(body: Mapping[str, Any]) -> None:
    names: list[str] = []
    for index, tool in enumerate(objects(body.get("tools"))):
        if tool.get("type") == "function":
            check_function(tool, f"tools[{index}]")
            names.append(tool["name"])
        elif isinstance(tool.get("type"), str):
            names.append(tool["type"])  # tools of the vendor are known by their type
        else:
            raise refuse(f"tools[{index}].type", "The tool is of no known type.", "invalid_value")
    choice = body.get("tool_choice")
    named = (choice.get("name") or choice.get("type")) if isinstance(choice, dict) else None
    check_choice({key: value for key, value in body.items() if value not in ("auto", "none")}, named, names)
