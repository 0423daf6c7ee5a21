"""Writes the body of a request in the dialect `gemini`. See its package.

Models up to those that are told in tokens how much to think take no form of the answer beside tools: there it is asked
for by a forced tool.

Source: https://ai.google.dev/api/generate-content and https://ai.google.dev/api/tokens
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.requests import CompleteRequest, CountTokensRequest, Tool
from llmgateway_server.core.targets import Profile, ReasoningStyle
from llmgateway_server.providers.dialects.dialect import Unsupported
from llmgateway_server.providers.dialects.gemini.conversation import Conversation, Habits
from llmgateway_server.providers.dialects.gemini.generation import generation_config
from llmgateway_server.providers.dialects.gemini.tools import calling_config, declarations
from llmgateway_server.providers.dialects.structured import answer_choice, answer_tool

OLDER = (ReasoningStyle.NONE, ReasoningStyle.BUDGET)
"""How models are told to think that take neither a form of the answer beside tools nor media in a tool's result."""
NEWER = (ReasoningStyle.EFFORT, ReasoningStyle.ADAPTIVE)
"""How models are told to think that want a signature of every turn with a call."""
OWN_TOOLS = {"google_search": "googleSearch", "code_execution": "codeExecution"}
SERVICE_TIERS = {"default": "standard", "standard": "standard", "flex": "flex", "priority": "priority"}
"""The vendor's tiers. `default` is what others call usual capacity at the usual price."""
COUNTED = ("contents", "systemInstruction", "tools", "generationConfig")
"""What is counted where the question is not a whole request."""


@dataclass(slots=True, frozen=True)
class Service:
    """How one service that speaks the dialect departs from the other."""

    counts_requests: bool = False
    """Counts the tokens of a whole request, with the model's name in it."""
    excludes_domains: bool = False
    """Takes domains that a search leaves out."""


def attempt_at_completion(attempt: Attempt) -> Attempt:
    """Returns the attempt with the completion whose tokens are to be counted as its request."""
    request = attempt.call.request
    if not isinstance(request, CountTokensRequest):
        return attempt
    return replace(attempt, call=replace(attempt.call, request=request.completion))


def tool_for_answer(attempt: Attempt) -> Tool | None:
    """Returns the tool that stands for the wanted format; None where the model follows the format by itself.

    Args:
        attempt: at a completion.
    """
    request, target = attempt.call.request, attempt.target
    has_tools = isinstance(request, CompleteRequest) and bool(request.tools)
    if not (has_tools and target.profile.reasoning in OLDER):
        return answer_tool(attempt)
    profile = replace(target.profile, native_json_schema=False)
    return answer_tool(replace(attempt, target=replace(target, profile=profile)), json_objects_too=True)


def count_body(attempt: Attempt, dialect: str, service: Service, model: str) -> dict[str, Any]:
    """Returns the body for counting the tokens of a completion's input. Errors as in `request_body`.

    Args:
        attempt: at a count.
        dialect: its name.
        service: that counts.
        model: its path.
    """
    body = request_body(attempt_at_completion(attempt), dialect, service)
    if service.counts_requests:
        return {"generateContentRequest": {"model": model, **body}}
    return {name: body[name] for name in COUNTED if name in body}


def request_body(attempt: Attempt, dialect: str, service: Service) -> dict[str, Any]:
    """Returns the body; what the caller left out is left to the vendor.

    Raises:
        RequestError: UNSUPPORTED_OPTION with everything that the dialect cannot say.
    """
    request = attempt.call.request
    if not isinstance(request, CompleteRequest):  # pragma: no cover: `operations` keeps others away
        raise TypeError(request)
    unsupported = Unsupported(dialect, attempt.call, drop=request.drop_unsupported)
    profile = attempt.target.profile
    own: dict[str, Any] = request.provider_options.get(dialect, {})
    answer = tool_for_answer(attempt)
    _refuse(request, unsupported)
    conversation = Conversation(request.messages, _habits(profile), unsupported)
    tools = _tools(request, answer, own, service, unsupported)
    config = generation_config(
        request,
        profile.reasoning,
        unsupported,
        by_tool=answer is not None,
        modalities=own.get("response_modalities"),
    )
    body = {
        "contents": conversation.contents(),
        "systemInstruction": conversation.system(),
        "tools": tools or None,
        "toolConfig": _tool_config(request, answer),
        "safetySettings": own.get("safety_settings") or None,
        "cachedContent": own.get("cached_content") or None,
        "serviceTier": SERVICE_TIERS.get(request.service_tier),
        "generationConfig": config or None,
    }
    unsupported.settle()
    return {name: value for name, value in body.items() if value is not None}


def _habits(profile: Profile) -> Habits:
    return Habits(
        signed_calls=profile.reasoning in NEWER,
        media_in_results=profile.reasoning not in OLDER,
    )


def _refuse(request: CompleteRequest, unsupported: Unsupported) -> None:
    """Notes the options that the vendor does not have."""
    if request.tools and request.parallel_tool_calls is False:
        unsupported.option("parallel_tool_calls")
    if request.service_tier and request.service_tier not in SERVICE_TIERS:
        unsupported.option("service_tier")
    if request.end_user_id:
        unsupported.hint("end_user_id")


def _tools(
    request: CompleteRequest, answer: Tool | None, own: dict[str, Any], service: Service, unsupported: Unsupported
) -> list[dict[str, Any]]:
    offered = [*request.tools, answer] if answer else request.tools
    tools: list[dict[str, Any]] = []
    if offered:
        tools.append({"functionDeclarations": declarations(offered, unsupported)})
    for name, field in OWN_TOOLS.items():
        if name not in own:
            continue
        if answer is not None:  # forced to answer, the model runs none of them
            unsupported.option(f"provider_options.gemini.{name}")
        elif name == "google_search":
            tools.append({field: _search(own[name] or {}, service, unsupported)})
        else:
            tools.append({field: {}})
    return tools


def _search(wanted: dict[str, Any], service: Service, unsupported: Unsupported) -> dict[str, Any]:
    """Returns the vendor's search, which cannot be kept to domains or to a number of searches."""
    for name in ("max_uses", "allowed_domains"):
        if wanted.get(name):
            unsupported.option(f"provider_options.gemini.google_search.{name}")
    blocked = wanted.get("blocked_domains")
    if blocked and not service.excludes_domains:
        unsupported.option("provider_options.gemini.google_search.blocked_domains")
        return {}
    return {"excludeDomains": blocked} if blocked else {}


def _tool_config(request: CompleteRequest, answer: Tool | None) -> dict[str, Any] | None:
    """Returns the choice of tools, which the vendor refuses without any."""
    if not (request.tools or answer):
        return None
    choice = answer_choice(request, answer) if answer else request.tool_choice
    config = calling_config(choice, strict=any(tool.strict for tool in request.tools))
    return None if config is None else {"functionCallingConfig": config}
