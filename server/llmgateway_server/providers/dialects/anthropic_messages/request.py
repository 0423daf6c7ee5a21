"""What Anthropic's messages are asked: the body of the request, and what it cannot say. See `anthropic_messages`.

A model that is told to think may not be forced to call a tool: the vendor refuses both together, or lets the model
answer in plain text. So an answer that must have a form, where that takes a forced tool, is asked for without
thinking, and reasoning that was wanted beside it is refused by name: left to its own choice, the model may answer in
a form that nobody can read. A model that decides by itself whether to think is told not to where a tool is forced.

Source: https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from typing import Any

import msgspec

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.requests import (
    CompleteRequest,
    CountTokensRequest,
    FormatKind,
    ResponseFormat,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from llmgateway_server.core.targets import Profile, ReasoningStyle
from llmgateway_server.providers.dialects.anthropic_messages.conversation import CACHE_MARKS, Conversation
from llmgateway_server.providers.dialects.anthropic_messages.reasoning import NOT_ASKED, OFF, Thinking, thinking_of
from llmgateway_server.providers.dialects.dialect import Unsupported
from llmgateway_server.providers.dialects.structured import answer_choice, answer_tool

DEFAULT_MAX_TOKENS = 4096
"""Cap on output tokens where neither the caller nor the model's profile has one: every model takes it."""
CHOICES = {
    ToolChoiceMode.AUTO: "auto",
    ToolChoiceMode.NONE: "none",
    ToolChoiceMode.REQUIRED: "any",
    ToolChoiceMode.NAMED: "tool",
}
FORCED = (ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED)
SERVICE_TIERS = {"auto": "auto", "standard_only": "standard_only", "default": "standard_only"}
"""The vendor's tiers. `default` is what others call usual capacity at the usual price."""
LEAST_TOP_P_THINKING = 0.95
"""Smallest `top_p` that the vendor takes from a call with thinking."""
COUNTED = ("model", "system", "messages", "tools", "tool_choice", "thinking", "output_config")
"""What the endpoint that counts tokens takes; nothing else is part of the input."""


def attempt_at_completion(attempt: Attempt) -> Attempt:
    """Returns the attempt with the completion whose tokens are to be counted as its request."""
    request = attempt.call.request
    if not isinstance(request, CountTokensRequest):
        return attempt
    return replace(attempt, call=replace(attempt.call, request=request.completion))


def count_body(attempt: Attempt, dialect: str, lacks: Container[str] = ()) -> dict[str, Any]:
    """Returns the body for counting the tokens of a completion's input. Arguments and errors as in `request_body`."""
    body = _body(attempt_at_completion(attempt), dialect, lacks)
    return {name: body[name] for name in COUNTED if name in body}


def beta_features(attempt: Attempt, dialect: str) -> list[str]:
    """Returns the beta features that the caller named."""
    betas: list[str] = _own(_completion(attempt_at_completion(attempt)), dialect).get("betas", [])
    return betas


def request_body(attempt: Attempt, dialect: str, lacks: Container[str] = ()) -> dict[str, Any]:
    """Returns the body without the fields that only some hosts have; what the caller left out is left to the vendor.

    Args:
        attempt: tells the request and the target.
        dialect: its name.
        lacks: what the host does not have, see `Hosting`.

    Raises:
        RequestError: UNSUPPORTED_OPTION with everything that the dialect cannot say.
    """
    body = _body(attempt, dialect, lacks)
    if _completion(attempt).max_output_tokens is None:
        attempt.record.max_output_tokens = body["max_tokens"]
    return body


def _body(attempt: Attempt, dialect: str, lacks: Container[str]) -> dict[str, Any]:
    request = _completion(attempt)
    unsupported = Unsupported(dialect, attempt.call, drop=request.drop_unsupported)
    options = _Options(attempt, _hosted(request, dialect, lacks, unsupported), dialect, unsupported)
    body = options.written(Conversation(request.messages, unsupported))
    unsupported.settle()
    return body


def _hosted(request: CompleteRequest, dialect: str, lacks: Container[str], unsupported: Unsupported) -> CompleteRequest:
    """Returns the request without what its host does not have."""
    own = _own(request, dialect)
    kept = {name: value for name, value in own.items() if name not in lacks}
    for name in own.keys() - kept.keys():
        unsupported.option(f"provider_options.{dialect}.{name}")
    tier = "" if "service_tier" in lacks else request.service_tier
    if tier != request.service_tier:
        unsupported.option("service_tier")
    if len(kept) == len(own) and tier == request.service_tier:
        return request
    return replace(request, service_tier=tier, provider_options={**request.provider_options, dialect: kept})


def _completion(attempt: Attempt) -> CompleteRequest:
    request = attempt.call.request
    if not isinstance(request, CompleteRequest):  # pragma: no cover: `operations` keeps others away
        raise TypeError(request)
    return request


def _max_tokens(request: CompleteRequest, profile: Profile) -> int:
    """Returns the cap on output tokens, which the vendor demands; a budget of reasoning is part of it."""
    if request.max_output_tokens is not None:
        return request.max_output_tokens
    budget = request.reasoning.budget_token_count if request.reasoning else None
    return profile.max_output_token_count or DEFAULT_MAX_TOKENS + (budget or 0)


def _own(request: CompleteRequest, dialect: str) -> dict[str, Any]:
    own: dict[str, Any] = request.provider_options.get(dialect, {})
    return own


class _Options:
    """Settles the options of a request, some of which exclude one another.

    Args:
        attempt: tells the target.
        request: its completion.
        dialect: its name, for the options that only it has.
        unsupported: gets what cannot be said.
    """

    def __init__(self, attempt: Attempt, request: CompleteRequest, dialect: str, unsupported: Unsupported) -> None:
        profile = attempt.target.profile
        self._model = attempt.target.upstream_model
        self._request = request
        self._unsupported = unsupported
        self._own_path = f"provider_options.{dialect}"
        self._own = _own(request, dialect)
        self._answer = answer_tool(attempt, json_objects_too=True)
        self._max_tokens = _max_tokens(request, profile)
        self._choice = answer_choice(request, self._answer) if self._answer else request.tool_choice
        self._thinking = self._settled_thinking(profile.reasoning)

    def written(self, conversation: Conversation) -> dict[str, Any]:
        """Returns the body."""
        request = self._request
        self._refuse()
        tools = self._tools()
        options = (
            ("model", self._model),
            ("max_tokens", self._max_tokens),
            ("system", conversation.system()),
            ("messages", conversation.messages()),
            ("tools", tools or None),
            ("tool_choice", self._tool_choice() if tools else None),
            ("thinking", self._thinking.config),
            ("output_config", self._output_config()),
            *self._sampling(),
            ("stop_sequences", self._stops() or None),
            ("service_tier", SERVICE_TIERS.get(request.service_tier)),
            ("metadata", {"user_id": request.end_user_id} if request.end_user_id else None),
            ("container", self._own.get("container_id") or None),
        )
        return {name: value for name, value in options if value is not None}

    def _settled_thinking(self, style: ReasoningStyle) -> Thinking:
        """Returns the thinking that goes with the choice of tools. See the module."""
        thinking = thinking_of(self._request.reasoning, style, self._max_tokens, self._unsupported)
        if self._choice is None or self._choice.mode not in FORCED:
            return thinking
        if thinking.is_on and self._answer is None:
            self._unsupported.option("tool_choice")
            self._choice = None
            return thinking
        if thinking.is_on:
            self._unsupported.option("reasoning")
        if style is ReasoningStyle.ADAPTIVE and self._answer is not None:  # it may think unasked
            return Thinking(OFF)
        return NOT_ASKED if thinking.is_on else thinking

    def _refuse(self) -> None:
        """Notes the options that the vendor does not have."""
        request, unsupported = self._request, self._unsupported
        for path, given in (
            ("seed", request.seed is not None),
            ("frequency_penalty", bool(request.frequency_penalty)),
            ("presence_penalty", bool(request.presence_penalty)),
            ("logprobs", request.logprobs_top_count is not None),
            ("service_tier", bool(request.service_tier) and request.service_tier not in SERVICE_TIERS),
        ):
            if given:
                unsupported.option(path)
        if self._answer is not None:  # forced to answer, the model runs none of them
            for name in ("web_search", "code_execution"):
                if name in self._own:
                    unsupported.option(f"{self._own_path}.{name}")

    def _sampling(self) -> list[tuple[str, float | None]]:
        """Returns what the vendor takes; with thinking that is next to nothing."""
        request, thinks = self._request, self._thinking.is_on
        temperature, top_p, top_k = request.temperature, request.top_p, request.top_k
        given = (
            ("temperature", temperature, temperature == 1 if thinks else (temperature or 0) <= 1),
            ("top_p", top_p, not thinks or (top_p or 0) >= LEAST_TOP_P_THINKING),
            ("top_k", top_k, not thinks),
        )
        taken: list[tuple[str, float | None]] = []
        for path, value, is_taken in given:
            if value is not None and not is_taken:
                self._unsupported.option(path)
            elif value is not None:
                taken.append((path, value))
        return taken

    def _stops(self) -> list[str]:
        """Returns the stop sequences; the vendor refuses those without a visible character."""
        stops = []
        for i, stop in enumerate(self._request.stop):
            if stop.isspace():
                self._unsupported.option(f"stop[{i}]")
            else:
                stops.append(stop)
        return stops

    def _tools(self) -> list[dict[str, Any]]:
        tools = [_tool(tool) for tool in self._request.tools]
        if self._answer is not None:
            return [*tools, _tool(self._answer)]
        if (search := self._own.get("web_search")) is not None:
            tools.append({"type": "web_search_20250305", "name": "web_search", **search})
        if "code_execution" in self._own:
            tools.append({"type": "code_execution_20250825", "name": "code_execution"})
        return tools

    def _tool_choice(self) -> dict[str, Any] | None:
        choice, parallel = self._choice, self._request.parallel_tool_calls
        if self._answer is not None and choice == ToolChoice(ToolChoiceMode.NAMED, self._answer.name):
            parallel = False  # there is one answer
        if choice is None and parallel is None:
            return None
        choice = choice or ToolChoice(ToolChoiceMode.AUTO)
        said: dict[str, Any] = {"type": CHOICES[choice.mode]}
        if choice.mode is ToolChoiceMode.NAMED:
            said["name"] = choice.name
        if parallel is not None and choice.mode is not ToolChoiceMode.NONE:
            said["disable_parallel_tool_use"] = not parallel
        return said

    def _output_config(self) -> dict[str, Any] | None:
        config: dict[str, Any] = {}
        if self._thinking.effort is not None:
            config["effort"] = self._thinking.effort
        wanted = self._request.response_format
        if self._answer is None and wanted is not None and wanted.kind is FormatKind.JSON_SCHEMA:
            config["format"] = self._format(wanted)
        return config or None

    def _format(self, wanted: ResponseFormat) -> dict[str, Any]:
        """Writes a schema that the model follows by itself; its name is for vendors that want one."""
        if wanted.description:
            self._unsupported.hint("response_format.json_schema.description")
        return {"type": "json_schema", "schema": msgspec.Raw(wanted.schema_json.encode())}


def _tool(tool: Tool) -> dict[str, Any]:
    said: dict[str, Any] = {"name": tool.name}
    if tool.description:
        said["description"] = tool.description
    said["input_schema"] = _input_schema(tool.parameters_json_schema)
    if tool.strict is not None:
        said["strict"] = tool.strict
    if tool.cache_breakpoint:
        said["cache_control"] = CACHE_MARKS["default"]
    return said


def _input_schema(schema: str) -> Any:
    """Returns a tool's schema to the letter; the vendor demands that it says that it is an object's."""
    if not schema:
        return {"type": "object", "properties": {}}
    fields = _decode_fields(schema)
    return msgspec.Raw(schema.encode()) if "type" in fields else {"type": "object", **fields}


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
