"""Requests of the recordings, which are written vendor-neutrally, in the words of the contract."""

from __future__ import annotations

import base64
import json
from typing import Any

from llmgateway.v1 import completion_pb2, message_pb2, tool_pb2

ROLES = {
    "user": message_pb2.ROLE_USER,
    "assistant": message_pb2.ROLE_ASSISTANT,
    "tool": message_pb2.ROLE_TOOL,
    "developer": message_pb2.ROLE_DEVELOPER,
    "system": message_pb2.ROLE_SYSTEM,
}
CHOICES = {
    "auto": tool_pb2.TOOL_CHOICE_MODE_AUTO,
    "none": tool_pb2.TOOL_CHOICE_MODE_NONE,
    "required": tool_pb2.TOOL_CHOICE_MODE_REQUIRED,
    "any": tool_pb2.TOOL_CHOICE_MODE_REQUIRED,
}
SAME_NAME = ("temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty")


def request_of(neutral: dict[str, Any], provider: str) -> completion_pb2.CompleteRequest:
    """Returns the request for `provider`. What the contract cannot say (`n`, old function calls) is left out."""
    request = completion_pb2.CompleteRequest(model=f"{provider}/{neutral['model']}")
    for text in neutral.get("system", ()):
        request.messages.add(role=message_pb2.ROLE_SYSTEM, parts=[message_pb2.Part(text=text)])
    for message in neutral["messages"]:
        request.messages.add(role=ROLES[message["role"]], parts=[_part(part) for part in message["parts"]])
    for tool in neutral.get("tools", ()):
        said = request.tools.add(name=tool["name"], description=tool.get("description") or "")
        if tool.get("schema") is not None:
            said.parameters_json_schema = json.dumps(tool["schema"])
        if tool.get("strict") is not None:
            said.strict = tool["strict"]
    _options(request, neutral)
    return request


def media_paths(neutral: dict[str, Any]) -> set[str]:
    """Returns the paths of the images, sounds and documents in the request."""
    offset = len(neutral.get("system", ()))
    return {
        f"messages[{m + offset}].parts[{p}].media"
        for m, message in enumerate(neutral["messages"])
        for p, part in enumerate(message["parts"])
        if part.keys() & {"image", "audio", "document"}
    }


def _options(request: completion_pb2.CompleteRequest, neutral: dict[str, Any]) -> None:
    for name in SAME_NAME:
        if neutral.get(name) is not None:
            setattr(request, name, neutral[name])
    if neutral.get("max_tokens") is not None:
        request.max_output_tokens = neutral["max_tokens"]
    stop = neutral.get("stop") or ()
    request.stop.extend([stop] if isinstance(stop, str) else stop)
    choice = neutral.get("tool_choice")
    if isinstance(choice, str):
        request.tool_choice.mode = CHOICES[choice]
    elif choice is not None:
        request.tool_choice.mode = tool_pb2.TOOL_CHOICE_MODE_NAMED
        request.tool_choice.name = choice["function"]["name"]
    if neutral.get("reasoning"):
        effort = f"REASONING_EFFORT_{neutral['reasoning'].upper()}"
        request.reasoning.effort = completion_pb2.ReasoningEffort.Value(effort)
    if neutral.get("logprobs"):
        request.logprobs.top_count = 0
        request.logprobs.SetInParent()
    _response_format(request.response_format, neutral.get("response_format"))


def _response_format(wanted: tool_pb2.ResponseFormat, neutral: dict[str, Any] | None) -> None:
    match neutral:
        case None:
            return
        case {"type": "json_schema", "json_schema": schema}:
            said = wanted.json_schema
            said.name, said.schema_json = schema["name"], json.dumps(schema["schema"])
            said.description = schema.get("description") or ""
            if schema.get("strict") is not None:
                said.strict = schema["strict"]
        case {"type": "json_object"}:
            wanted.json_object.SetInParent()
        case _:
            wanted.text.SetInParent()


def _part(neutral: dict[str, Any]) -> message_pb2.Part:
    [(kind, said)] = neutral.items()
    part = message_pb2.Part()
    match kind:
        case "text":
            part.text = said
        case "tool_call":
            part.tool_call.id, part.tool_call.name = said["id"], said["name"]
            part.tool_call.arguments_json = json.dumps(said["arguments"])
        case "tool_result":
            part.tool_result.tool_call_id, part.tool_result.name = said["id"], said["name"] or ""
            for piece in said["content"]:
                part.tool_result.content.add(text=piece["text"])
        case _:
            _media(part.media, said)
    return part


def _media(media: message_pb2.Media, said: dict[str, Any]) -> None:
    if "url" in said:
        media.uri = said["url"]
        return
    if "file_data" in said:
        head, _, data = said["file_data"].partition(",")
        media.mime_type = head.removeprefix("data:").partition(";")[0]
    else:
        media.mime_type, data = said["mime"], said["data_b64"]
    media.data = base64.b64decode(data)
    media.filename = said.get("filename", "")
