"""What Converse of AWS Bedrock checks of a request: its fields, its tools, its options.

Source: the API reference of Amazon Bedrock, the service's model in botocore, and recorded refusals. The words of the
messages are the fake's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llmgateway_server.testing.fake_provider.checks import (
    LIST,
    NAME,
    OBJECT,
    TEXT,
    Asked,
    Kind,
    number,
    whole,
    word,
)
from llmgateway_server.testing.fake_provider.checks_bedrock_turns import check_turns, only_key, refuse, tool_blocks

FIELDS: dict[str, Kind] = {
    "messages": LIST,
    "system": LIST,
    "inferenceConfig": OBJECT,
    "toolConfig": OBJECT,
    "outputConfig": OBJECT,
    "guardrailConfig": OBJECT,
    "performanceConfig": OBJECT,
    "serviceTier": OBJECT,
    "requestMetadata": OBJECT,
    "additionalModelRequestFields": OBJECT,
    "additionalModelResponseFieldPaths": LIST,
    "promptVariables": OBJECT,
    "model": TEXT,
}
"""Fields of a request; the model stands in its path."""
INSIDE: dict[str, dict[str, Kind]] = {
    "inferenceConfig": {
        "maxTokens": whole(1),
        "temperature": number(0, 1),
        "topP": number(0, 1),
        "stopSequences": LIST,
    },
    "outputConfig": {"textFormat": OBJECT, "effort": word("low", "medium", "high", "xhigh", "max")},
    "guardrailConfig": {
        "guardrailIdentifier": TEXT,
        "guardrailVersion": TEXT,
        "trace": word("enabled", "disabled", "enabled_full"),
        "streamProcessingMode": word("sync", "async"),
    },
    "performanceConfig": {"latency": word("standard", "optimized")},
    "serviceTier": {"type": word("priority", "default", "flex", "reserved", nullable=False)},
    "toolConfig": {"tools": LIST, "toolChoice": OBJECT},
}
MOST_CACHE_POINTS = 4
METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{1,256}", re.ASCII)
FORCING = ("any", "tool")


def check_converse(asked: Asked) -> None:
    """Refuses what Converse refuses.

    Raises:
        Refused: the first fault.
    """
    check_credentials(asked)
    body = asked.body
    if not isinstance(body, dict):
        raise refuse("the body is not a JSON object", type="SerializationException")
    _check_fields("", body, FIELDS)
    for name, fields in INSIDE.items():
        _check_fields(f"{name}.", body.get(name) or {}, fields)
    if asked.models and body["model"] not in asked.models:
        raise refuse("The provided model identifier is invalid.")
    _check_system(body.get("system") or [])
    check_turns(asked)
    _check_options(body)
    _check_tools(body)


def check_credentials(asked: Asked) -> None:
    """Refuses a request without a signature or a key.

    Raises:
        Refused: the first fault.
    """
    scheme, _, token = asked.headers.get("authorization", "").partition(" ")
    if scheme not in ("Bearer", "AWS4-HMAC-SHA256"):
        raise refuse("Missing Authentication Token", 403, "MissingAuthenticationTokenException")
    if scheme == "Bearer" and asked.api_key and token != asked.api_key:
        raise refuse("The security token included in the request is invalid.", 403, "UnrecognizedClientException")


def _check_fields(path: str, given: Mapping[str, Any], fields: Mapping[str, Kind]) -> None:
    for name, value in given.items():
        if name not in fields:
            raise refuse(f"{path}{name}: extraneous key")
        if fault := fields[name].fault(value):
            raise refuse(f"{path}{name}: {fault}")


def _check_system(system: list[Any]) -> None:
    for index, block in enumerate(system):
        kind = only_key(block, f"system.{index}")
        if kind not in ("text", "guardContent", "cachePoint") or (kind == "text" and not block["text"]):
            raise refuse(f"system.{index}.{kind}: not an instruction")


def _check_options(body: Mapping[str, Any]) -> None:
    if any(
        not isinstance(stop, str) or not stop for stop in (body.get("inferenceConfig") or {}).get("stopSequences", [])
    ):
        raise refuse("inferenceConfig.stopSequences: an empty one")
    for key, value in (body.get("requestMetadata") or {}).items():
        if not METADATA.fullmatch(key) or not METADATA.fullmatch(value):
            raise refuse("requestMetadata: letters that may not be there")
    text_format = (body.get("outputConfig") or {}).get("textFormat")
    if text_format is not None:
        if text_format.get("type") != "json_schema":
            raise refuse("outputConfig.textFormat.type: unknown")
        if not isinstance(text_format["structure"]["jsonSchema"]["schema"], str):
            raise refuse("outputConfig.textFormat.structure.jsonSchema.schema: not JSON text")
    if str(body).count("'cachePoint'") > MOST_CACHE_POINTS:
        raise refuse("cachePoint: more than four")


def _check_tools(body: Mapping[str, Any]) -> None:
    config = body.get("toolConfig")
    if config is None:
        if tool_blocks(body["messages"]):
            raise refuse("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
        return
    tools = config.get("tools") or []
    if not tools:
        raise refuse("toolConfig.tools: none")
    names = [_checked_tool(tool, f"toolConfig.tools.{index}") for index, tool in enumerate(tools)]
    choice = config.get("toolChoice")
    if choice is None:
        return
    kind = only_key(choice, "toolConfig.toolChoice")
    if kind not in ("auto", *FORCING):
        raise refuse(f"toolConfig.toolChoice.{kind}: unknown")
    if kind == "tool" and choice["tool"].get("name") not in names:
        raise refuse("toolConfig.toolChoice.tool.name: no such tool")
    thinking = (body.get("additionalModelRequestFields") or {}).get("thinking") or {}
    if kind in FORCING and thinking.get("type") in ("enabled", "adaptive"):
        raise refuse("Thinking may not be enabled when tool_choice forces tool use.")


def _checked_tool(tool: Any, path: str) -> str:
    """Returns the name of a tool, nothing for a mark."""
    kind = only_key(tool, path)
    if kind == "cachePoint":
        return ""
    if kind != "toolSpec":
        raise refuse(f"{path}.{kind}: unknown")
    spec = tool["toolSpec"]
    if unknown := set(spec) - {"name", "description", "inputSchema", "strict"}:
        raise refuse(f"{path}.toolSpec.{min(unknown)}: extraneous key")
    if not NAME.fullmatch(spec.get("name", "")):
        raise refuse(f"{path}.toolSpec.name: not a name")
    if spec.get("description") == "":
        raise refuse(f"{path}.toolSpec.description: empty")
    schema = spec["inputSchema"].get("json")
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise refuse(f"{path}.toolSpec.inputSchema.json: not the schema of an object")
    return str(spec["name"])
