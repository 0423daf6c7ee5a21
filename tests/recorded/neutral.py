"""Requests of the recordings, which are written vendor-neutrally, in the words of the contract."""

from __future__ import annotations

import base64
import json
from typing import Any

from google.protobuf import json_format

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


def request_of(neutral: dict[str, Any], model: str) -> completion_pb2.CompleteRequest:
    """Returns the request for `model`. What the contract cannot say (`n`, old function calls) is left out."""
    request = completion_pb2.CompleteRequest(model=model)
    for text in neutral.get("system", ()):
        request.messages.add(role=message_pb2.ROLE_SYSTEM, parts=[message_pb2.Part(text=text)])
    for message in neutral["messages"]:
        _message(request, message)
    for tool in neutral.get("tools", ()):
        said = request.tools.add(name=tool["name"], description=tool.get("description") or "")
        if tool.get("schema") is not None:
            said.parameters_json_schema = json.dumps(tool["schema"])
        if tool.get("strict") is not None:
            said.strict = tool["strict"]
    _options(request, neutral)
    return request


def is_sayable(neutral: dict[str, Any]) -> bool:
    """Tells whether the contract has words for all of it; a vendor's own references have none."""
    pieces = [
        piece
        for message in neutral.get("messages", ())
        for part in message["parts"]
        for piece in part.get("tool_result", {}).get("content") or ()
    ]
    return all("tool_reference" not in piece for piece in pieces)


def _message(request: completion_pb2.CompleteRequest, neutral: dict[str, Any]) -> None:
    """Adds a message; tool results that stand in a user's message are the tools' own."""
    results = [part for part in neutral["parts"] if "tool_result" in part]
    others = [part for part in neutral["parts"] if "tool_result" not in part]
    if results:
        request.messages.add(role=message_pb2.ROLE_TOOL, parts=map(_part, results))
    if others or not results:
        request.messages.add(role=ROLES[neutral["role"]], parts=map(_part, others))


def _options(request: completion_pb2.CompleteRequest, neutral: dict[str, Any]) -> None:
    for name in SAME_NAME:
        if neutral.get(name) is not None:
            setattr(request, name, neutral[name])
    if neutral.get("max_tokens") is not None:
        request.max_output_tokens = neutral["max_tokens"]
    stop = neutral.get("stop") or ()
    request.stop.extend([stop] if isinstance(stop, str) else stop)
    _tool_choice(request, neutral.get("tool_choice"))
    _reasoning(request.reasoning, neutral.get("reasoning"))
    if neutral.get("logprobs"):
        request.logprobs.top_count = 0
        request.logprobs.SetInParent()
    if neutral.get("response_format"):
        _response_format(request.response_format, neutral["response_format"])


def _tool_choice(request: completion_pb2.CompleteRequest, neutral: Any) -> None:
    match neutral:
        case None:
            return
        case str():
            request.tool_choice.mode = CHOICES[neutral]
        case {"function": {"name": name}} | {"type": "tool", "name": name}:
            request.tool_choice.mode = tool_pb2.TOOL_CHOICE_MODE_NAMED
            request.tool_choice.name = name
        case {"type": kind}:
            request.tool_choice.mode = CHOICES[kind]
            if neutral.get("disable_parallel_tool_use") is not None:
                request.parallel_tool_calls = not neutral["disable_parallel_tool_use"]
    if request.tool_choice.mode == tool_pb2.TOOL_CHOICE_MODE_AUTO and not request.tools:
        request.ClearField("tool_choice")  # of a tool that only the vendor has


def _reasoning(wanted: completion_pb2.ReasoningOptions, neutral: Any) -> None:
    match neutral:
        case None:
            return
        case {"contract": fields}:
            json_format.ParseDict(fields, wanted)
        case str():
            wanted.effort = completion_pb2.ReasoningEffort.Value(f"REASONING_EFFORT_{neutral.upper()}")
        case {"type": "enabled", "budget_tokens": budget}:
            wanted.budget_token_count = budget
        case {"type": "adaptive", **more}:
            wanted.SetInParent()
            if "display" in more:
                wanted.include_text = more["display"] == "summarized"


def _response_format(wanted: tool_pb2.ResponseFormat, neutral: dict[str, Any]) -> None:
    match neutral:
        case {"type": "json_schema"}:
            schema = neutral.get("json_schema", neutral)
            said = wanted.json_schema
            said.name, said.schema_json = schema.get("name", "answer"), json.dumps(schema["schema"])
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
            if "provider_state" in said:
                state = said["provider_state"]
                part.provider_state.vendor, part.provider_state.data = state["vendor"], state["data"].encode()
        case "tool_result":
            part.tool_result.tool_call_id, part.tool_result.name = said["id"], said.get("name") or ""
            part.tool_result.is_error = bool(said.get("is_error"))
            for piece in said["content"] or ():
                if "media" in piece:
                    _media(part.tool_result.content.add().media, piece["media"])
                else:
                    part.tool_result.content.add(text=piece["text"])
        case "reasoning":
            _reasoning_part(part, said)
        case _:
            _media(part.media, said)
    return part


def _reasoning_part(part: message_pb2.Part, said: dict[str, Any]) -> None:
    """What the gateway returned as opaque state is, for Anthropic, the signature or the redacted data."""
    part.reasoning.text = said.get("text", "")
    part.reasoning.redacted = "redacted" in said
    part.provider_state.vendor = said.get("vendor", "anthropic")
    part.provider_state.data = (said.get("signature") or said["redacted"]).encode()


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
    media.filename = said.get("filename") or said.get("name") or ""
