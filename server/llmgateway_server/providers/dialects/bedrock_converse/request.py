"""Writes a completion as the body of Converse, which is the same for a stream; the model stands in the path.

What Converse itself has no word for goes into `additionalModelRequestFields`, in the words of the model's family
(`families`). What the caller puts there by `provider_options.bedrock_converse.additional_model_fields_json` counts
before anything that we would say.

A model of Anthropic's that is told to think may not be forced to call a tool, see `anthropic_messages.request`.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.requests import CompleteRequest, FormatKind, ResponseFormat, ToolChoice
from llmgateway_server.providers.dialects.bedrock_converse.conversation import Conversation
from llmgateway_server.providers.dialects.bedrock_converse.families import FORCED, family_of
from llmgateway_server.providers.dialects.bedrock_converse.reasoning import Reasoned, reasoned, silenced
from llmgateway_server.providers.dialects.bedrock_converse.tools import Tools, can_force, wanted_answer
from llmgateway_server.providers.dialects.dialect import UNREADABLE, Unsupported
from llmgateway_server.providers.dialects.structured import answer_choice

SERVICE_TIERS = {
    "default": "default",
    "standard_only": "default",
    "flex": "flex",
    "priority": "priority",
    "reserved": "reserved",
}
"""The service's tiers. `auto` is what others call the vendor's own choice, which is what absence means here."""
LEAST_TOP_P_THINKING = 0.95
"""Smallest `top_p` that Anthropic's models take from a call with thinking."""
END_USER = "end_user_id"
"""Key of the end user's id in `requestMetadata`, by which an account's own logs can be filtered."""
METADATA_VALUE = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{1,256}", re.ASCII)
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def request_body(attempt: Attempt, dialect: str) -> dict[str, Any]:
    """Returns the body; what the caller left out is left to the service.

    Raises:
        RequestError: UNSUPPORTED_OPTION with everything that the dialect cannot say.
    """
    request = attempt.call.request
    if not isinstance(request, CompleteRequest):  # pragma: no cover: `operations` keeps others away
        raise TypeError(request)
    unsupported = Unsupported(dialect, attempt.call, drop=request.drop_unsupported)
    body = _Options(attempt, request, dialect, unsupported).written()
    unsupported.settle()
    return body


class _Options:
    """Settles the options of a request, some of which exclude one another.

    Args:
        attempt: tells the target.
        request: its completion.
        dialect: its name, for the options that only it has.
        unsupported: gets what cannot be said.
    """

    def __init__(self, attempt: Attempt, request: CompleteRequest, dialect: str, unsupported: Unsupported) -> None:
        self._attempt = attempt
        self._request = request
        self._unsupported = unsupported
        self._own_path = f"provider_options.{dialect}"
        self._own: dict[str, Any] = request.provider_options.get(dialect, {})
        self._family = family_of(attempt.target.upstream_model)
        self._answer = wanted_answer(attempt)
        self._choice: ToolChoice | None = request.tool_choice
        if self._answer is not None:
            if not can_force(self._family, request):
                unsupported.essential("response_format")
            self._choice = answer_choice(request, self._answer)
        self._reasoned = self._settled_reasoning()

    def written(self) -> dict[str, Any]:
        """Returns the body."""
        request, unsupported = self._request, self._unsupported
        conversation = Conversation(request.messages, self._family, unsupported)
        if request.parallel_tool_calls is False:
            unsupported.option("parallel_tool_calls")
        if request.logprobs_top_count is not None:
            unsupported.option("logprobs")
        tools = Tools(request, self._family, self._answer, self._choice, unsupported)
        fields = (
            ("messages", conversation.messages()),
            ("system", conversation.system()),
            ("inferenceConfig", self._inference() or None),
            ("toolConfig", tools.written()),
            ("outputConfig", self._output() or None),
            ("guardrailConfig", self._guardrail() or None),
            ("performanceConfig", {"latency": self._own["latency"]} if self._own.get("latency") else None),
            ("serviceTier", self._service_tier()),
            ("requestMetadata", self._metadata()),
            ("additionalModelRequestFields", self._more() or None),
        )
        return {name: value for name, value in fields if value is not None}

    def _settled_reasoning(self) -> Reasoned:
        """Returns the reasoning that goes with the choice of tools. See the module."""
        wanted = reasoned(self._attempt, self._request, self._unsupported)
        if not self._family.turns_sampling_off or self._choice is None or self._choice.mode not in FORCED:
            return wanted
        if self._answer is not None:
            if wanted.is_on:
                self._unsupported.option("reasoning")
            return silenced(self._attempt) if wanted.is_on or not wanted.fields else wanted
        if wanted.is_on:
            self._unsupported.option("tool_choice")
            self._choice = None
        return wanted

    def _inference(self) -> dict[str, Any]:
        request, wanted = self._request, self._reasoned
        thinks = wanted.is_on and self._family.turns_sampling_off
        given = (
            ("max_output_tokens", "maxTokens", request.max_output_tokens, True),
            ("temperature", "temperature", request.temperature, request.temperature == 1 if thinks else None),
            ("top_p", "topP", request.top_p, (request.top_p or 0) >= LEAST_TOP_P_THINKING if thinks else None),
        )
        said: dict[str, Any] = {}
        for path, name, value, is_taken in given:
            if value is None:
                continue
            if wanted.alone or is_taken is False or (is_taken is None and value > 1):
                self._unsupported.option(path)
            else:
                said[name] = value
        if stops := self._stops():
            said["stopSequences"] = stops
        return said

    def _stops(self) -> list[str]:
        """Returns the stop sequences; Anthropic's models refuse those without a visible character."""
        stops = []
        for i, stop in enumerate(self._request.stop):
            if self._family.turns_sampling_off and stop.isspace():
                self._unsupported.option(f"stop[{i}]")
            else:
                stops.append(stop)
        return stops

    def _output(self) -> dict[str, Any]:
        config: dict[str, Any] = {}
        wanted = self._request.response_format
        if self._answer is None and wanted is not None and wanted.kind is FormatKind.JSON_SCHEMA:
            config["textFormat"] = _text_format(wanted)
        if self._reasoned.effort is not None:
            config["effort"] = self._reasoned.effort
        return config

    def _guardrail(self) -> dict[str, Any]:
        names = (("guardrail_id", "guardrailIdentifier"), ("guardrail_version", "guardrailVersion"))
        return {name: self._own[given] for given, name in names if self._own.get(given)}

    def _service_tier(self) -> dict[str, str] | None:
        wanted = self._request.service_tier
        if not wanted or wanted == "auto":
            return None
        if wanted not in SERVICE_TIERS:
            self._unsupported.option("service_tier")
            return None
        return {"type": SERVICE_TIERS[wanted]}

    def _metadata(self) -> dict[str, str] | None:
        end_user = self._request.end_user_id
        if not end_user:
            return None
        if not METADATA_VALUE.fullmatch(end_user):
            self._unsupported.hint("end_user_id")
            return None
        return {END_USER: end_user}

    def _more(self) -> dict[str, Any]:
        """Returns what the caller says to the model, and what only the model's family has a word for."""
        more = self._own_fields()
        for name, config in self._reasoned.fields.items():
            more.setdefault(name, config)
        request = self._request
        for path, value in (
            ("top_k", request.top_k),
            ("seed", request.seed),
            ("frequency_penalty", request.frequency_penalty or None),
            ("presence_penalty", request.presence_penalty or None),
        ):
            place = self._family.fields.get(path)
            if value is None:
                continue
            if place is None or (path == "top_k" and self._reasoned.is_on and self._family.turns_sampling_off):
                self._unsupported.option(path)
            else:
                _put(more, place, value)
        return more

    def _own_fields(self) -> dict[str, Any]:
        written = self._own.get("additional_model_fields_json")
        if not written:
            return {}
        try:
            return _decode_object(written)
        except UNREADABLE:
            self._unsupported.essential(f"{self._own_path}.additional_model_fields_json")
            return {}


def _text_format(wanted: ResponseFormat) -> dict[str, Any]:
    schema = {"schema": wanted.schema_json}
    if wanted.name:
        schema["name"] = wanted.name
    if wanted.description:
        schema["description"] = wanted.description
    return {"type": "json_schema", "structure": {"jsonSchema": schema}}


def _put(fields: Any, place: tuple[str, ...], value: Any) -> None:
    """Puts a value into its place, unless the caller has filled it."""
    *outer, name = place
    for key in outer:
        fields = fields.setdefault(key, {})
        if not isinstance(fields, dict):
            return
    fields.setdefault(name, value)
