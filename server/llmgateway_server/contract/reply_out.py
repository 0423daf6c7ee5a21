"""Replies into the contract's messages: a stream of events, or their fold."""

from __future__ import annotations

from itertools import islice
from typing import Any

from llmgateway.v1 import embedding_pb2, error_pb2, message_pb2, reply_pb2, routing_pb2, token_count_pb2
from llmgateway_server.contract.money_out import (
    cost_message,
    fill_cost,
    fill_money,
    fill_timings,
    fill_usage,
)
from llmgateway_server.core.calls import AttemptRecord, Call, NoticeCode, Outcome
from llmgateway_server.core.events import (
    EmbeddingsProduced,
    Event,
    Finished,
    FinishReason,
    GuardrailVerdict,
    Logprob,
    MediaDelta,
    PartFinished,
    PartKind,
    PartStarted,
    ReasoningDelta,
    Started,
    TargetSwitched,
    TextDelta,
    TokensCounted,
    ToolArgumentsDelta,
    UsageSnapshot,
)
from llmgateway_server.core.money import Cost, cost_of
from llmgateway_server.core.reply import Batch, Reply
from llmgateway_server.core.requests import CountTokensRequest, MidStreamPolicy
from llmgateway_server.core.targets import Plan, Target
from llmgateway_server.core.usage import Usage

_PART_KINDS = {kind: reply_pb2.PartKind.Value(f"PART_KIND_{kind}") for kind in PartKind}
_FINISH_REASONS = {reason: reply_pb2.FinishReason.Value(f"FINISH_REASON_{reason}") for reason in FinishReason}
_NOTICE_CODES = {code: reply_pb2.NoticeCode.Value(f"NOTICE_CODE_{code}") for code in NoticeCode}
_OUTCOMES = {
    Outcome.SUCCEEDED: reply_pb2.ATTEMPT_OUTCOME_SUCCEEDED,
    Outcome.FAILED: reply_pb2.ATTEMPT_OUTCOME_FAILED,
    Outcome.SHED: reply_pb2.ATTEMPT_OUTCOME_SHED,
    Outcome.CANCELLED: reply_pb2.ATTEMPT_OUTCOME_CANCELLED,
}


_STRATEGIES = {
    name.removeprefix("ROUTING_STRATEGY_").lower(): number
    for name, number in routing_pb2.RoutingStrategy.items()
    if number
}
_MID_STREAM_POLICIES = {
    policy: routing_pb2.MidStreamPolicy.Value(f"MID_STREAM_POLICY_{policy}") for policy in MidStreamPolicy
}
MAX_CANDIDATES = 16
"""Targets that a reply names; `ExplainRoute` names all."""


MAX_DECISIONS = 2048
"""Decisions and targets that are kept; callers can pin upstream models, so there must be a bound."""
_DECISIONS: dict[int, tuple[Plan, routing_pb2.RoutingDecision]] = {}
_TARGETS: dict[int, tuple[Target, routing_pb2.Target]] = {}


class EventWriter:
    """Turns batches into messages of a stream, with sequence numbers.

    Args:
        call: whose reply it is; its attempts and notices go into the last event.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self.last_seq = 0

    def message(self, batch: Batch) -> reply_pb2.StreamCompleteResponse:
        """Returns the message of a batch; the sequence goes on from the batch before."""
        message = reply_pb2.StreamCompleteResponse()
        for event in batch:
            self.last_seq += 1
            self._write(message.events.add(seq=self.last_seq), event)
        return message

    def _write(self, message: reply_pb2.Event, event: Event) -> None:
        match event:
            case TextDelta():
                delta = message.text_delta
                delta.part_index, delta.text = event.part_index, event.text
                if event.logprobs:
                    delta.logprobs.extend(map(_logprob, event.logprobs))
            case ReasoningDelta():
                message.reasoning_delta.part_index = event.part_index
                message.reasoning_delta.text = event.text
            case ToolArgumentsDelta():
                message.tool_arguments_delta.part_index = event.part_index
                message.tool_arguments_delta.arguments_json = event.arguments_json
            case MediaDelta():
                message.media_delta.part_index = event.part_index
                message.media_delta.data = event.data
            case Started():
                _fill_started(message.started, self._call, event)
                message.started.attempt = self._call.answering.number
            case PartStarted():
                message.part_started.CopyFrom(
                    reply_pb2.PartStarted(
                        part_index=event.part_index,
                        kind=_PART_KINDS[event.kind],
                        tool_call_id=event.tool_call_id,
                        tool_name=event.tool_name,
                        mime_type=event.mime_type,
                        redacted=event.redacted,
                    )
                )
            case PartFinished():
                message.part_finished.part_index = event.part_index
                _fill_state(message.part_finished, event)
            case UsageSnapshot():
                fill_usage(message.usage_snapshot.usage, event.usage)
            case GuardrailVerdict():
                message.guardrail_verdict.CopyFrom(_verdict(event))
            case TargetSwitched():
                _fill_switch(message.target_switched, event, self.last_seq - 1)
            case Finished():
                _fill_summary(message.finished, self._call, event)
                _fill_finish(message.finished, event)
            case EmbeddingsProduced() | TokensCounted():
                raise TypeError("not an event of a completion")


async def folded_completion(call: Call, reply: Reply) -> reply_pb2.CompleteResponse:
    """Reads a whole reply and folds it: exactly what a reader of the stream would put together."""
    message = reply_pb2.CompleteResponse()
    parts: list[PartStarted] = []
    pieces: list[list[Any]] = []
    async for batch in reply:
        for event in batch:
            match event:
                case Started():
                    _fill_started(message, call, event)
                case PartStarted():
                    parts.append(event)
                    pieces.append([])
                    message.parts.add()
                case TextDelta():
                    pieces[event.part_index].append(event.text)
                    if event.logprobs:
                        message.logprobs.extend(map(_logprob, event.logprobs))
                case ReasoningDelta():
                    pieces[event.part_index].append(event.text)
                case ToolArgumentsDelta():
                    pieces[event.part_index].append(event.arguments_json)
                case MediaDelta():
                    pieces[event.part_index].append(event.data)
                case PartFinished():
                    _fill_state(message.parts[event.part_index], event)
                case GuardrailVerdict():
                    message.guardrail_verdicts.append(_verdict(event))
                case Finished():
                    _fill_summary(message, call, event)
                    _fill_finish(message, event)
    for index, started in enumerate(parts):
        _fill_part(message.parts[index], started, pieces[index])
    return message


async def folded_embeddings(call: Call, reply: Reply) -> embedding_pb2.EmbedResponse:
    """Reads the reply of an embedding call."""
    message = embedding_pb2.EmbedResponse()
    async for batch in reply:
        for event in batch:
            match event:
                case Started():
                    _fill_started(message, call, event)
                case EmbeddingsProduced(vectors=vectors):
                    for vector in vectors:
                        message.embeddings.add(values=vector)
                case Finished():
                    _fill_summary(message, call, event)
    return message


async def folded_token_count(call: Call, reply: Reply) -> token_count_pb2.CountTokensResponse:
    """Reads the reply of a token count."""
    message = token_count_pb2.CountTokensResponse()
    async for batch in reply:
        for event in batch:
            match event:
                case Started():
                    message.call_id, message.model = call.scope.call_id, call.model
                    message.provider_model = event.provider_model
                    message.target.CopyFrom(target_message(call.answering.target))
                case TokensCounted():
                    message.input_token_count = event.input_token_count
                    message.method = token_count_pb2.TokenCountMethod.Value(f"TOKEN_COUNT_METHOD_{event.method}")
                    estimate = _most_that_it_costs(call, event.input_token_count)
                    if estimate is not None:
                        message.cost_estimate.CopyFrom(cost_message(estimate))
                case Finished():
                    _fill_facts(message, call, event)
    return message


def target_message(target: Target) -> routing_pb2.Target:
    """Translates a target."""
    return routing_pb2.Target(
        provider=target.provider, vendor=target.vendor, upstream_model=target.upstream_model, region=target.region
    )


def _known_target(target: Target) -> routing_pb2.Target:
    """Returns the message of a target, to be copied from; it is kept with the target, which is then not another's."""
    known = _TARGETS.get(id(target))
    if known is not None and known[0] is target:
        return known[1]
    message = target_message(target)
    if len(_TARGETS) >= MAX_DECISIONS:
        _TARGETS.clear()
    _TARGETS[id(target)] = (target, message)
    return message


def fill_decision(message: Any, plan: Plan, limit: int | None = None) -> None:
    """Writes where a call goes and why, with at most `limit` of the targets that were considered."""
    message.strategy = _STRATEGIES[plan.strategy]
    for candidate in islice(plan.told(), limit):
        message.candidates.add(
            target=target_message(candidate.target), eligible=candidate.eligible, reason=candidate.reason
        )
    message.reason = message.candidates[0].reason


def _lasting_decision(plan: Plan) -> routing_pb2.RoutingDecision:
    """Returns the decision of a plan that many calls have; it is kept with the plan, which is then not another's."""
    known = _DECISIONS.get(id(plan))
    if known is not None and known[0] is plan:
        return known[1]
    decision = routing_pb2.RoutingDecision()
    fill_decision(decision, plan, MAX_CANDIDATES)
    if len(_DECISIONS) >= MAX_DECISIONS:
        _DECISIONS.clear()
    _DECISIONS[id(plan)] = (plan, decision)
    return decision


def _most_that_it_costs(call: Call, input_token_count: int) -> Cost | None:
    """Returns the cost with all the output that is allowed; None without a price or without a known cap."""
    request, target = call.request, call.answering.target
    asked = request.completion.max_output_tokens if isinstance(request, CountTokensRequest) else None
    cap = asked or target.profile.max_output_token_count
    if target.price is None or cap is None:
        return None
    return cost_of(Usage(input_token_count=input_token_count, output_token_count=cap), target.price)


def _fill_started(message: Any, call: Call, event: Started) -> None:
    """Fills the fields that Started, CompleteResponse and EmbedResponse share."""
    message.response_id = event.response_id or call.scope.call_id
    message.call_id, message.model, message.provider_model = call.scope.call_id, call.model, event.provider_model
    message.target.CopyFrom(_known_target(call.answering.target))


def _fill_switch(message: reply_pb2.TargetSwitched, event: TargetSwitched, at_seq: int) -> None:
    message.at_seq, message.attempt, message.restarted = at_seq, event.attempt, event.restarted
    message.reason = error_pb2.ErrorReason.Value(f"ERROR_REASON_{event.reason}")
    message.target.provider, message.target.vendor = event.provider, event.vendor
    message.target.upstream_model, message.target.region = event.upstream_model, event.region


def _fill_part(message: message_pb2.Part, started: PartStarted, pieces: list[Any]) -> None:
    match started.kind:
        case PartKind.TEXT:
            message.text = "".join(pieces)
        case PartKind.REASONING:
            message.reasoning.text, message.reasoning.redacted = "".join(pieces), started.redacted
        case PartKind.REFUSAL:
            message.refusal.text = "".join(pieces)
        case PartKind.TOOL_CALL:
            call = message.tool_call
            call.id, call.name, call.arguments_json = started.tool_call_id, started.tool_name, "".join(pieces)
        case PartKind.MEDIA:
            message.media.mime_type, message.media.data = started.mime_type, b"".join(pieces)


def _fill_state(message: Any, event: PartFinished) -> None:
    """Fills the fields that PartFinished and Part share."""
    if event.provider_state is not None:
        message.provider_state.vendor = event.provider_state.vendor
        message.provider_state.data = event.provider_state.data
    for citation in event.citations:
        message.citations.add(
            title=citation.title,
            uri=citation.uri,
            cited_text=citation.cited_text,
            start_index=citation.start_index,
            end_index=citation.end_index,
        )


def _fill_finish(message: Any, event: Finished) -> None:
    message.finish_reason = _FINISH_REASONS[event.finish_reason]
    message.provider_finish_reason = event.provider_finish_reason


def _fill_summary(message: Any, call: Call, event: Finished) -> None:
    """Fills the fields that Finished, CompleteResponse and EmbedResponse share."""
    if event.usage is not None:
        fill_usage(message.usage, event.usage)
        fill_cost(message.cost, event.cost)
    message.cache.status = reply_pb2.CACHE_STATUS_OFF
    settings = message.effective_settings
    cap = getattr(call.request, "max_output_tokens", None) or call.answering.max_output_tokens
    if cap is not None:
        settings.max_output_tokens = cap
    settings.timeout_ms = max(0, round((call.deadline.at_s - call.scope.started_s) * 1000))
    settings.max_attempts = call.max_attempts
    settings.mid_stream_policy = _MID_STREAM_POLICIES[call.request.routing.mid_stream_policy]
    _fill_facts(message, call, event)


def _fill_facts(message: Any, call: Call, event: Finished) -> None:
    """Fills the fields that every reply has."""
    if event.timings is not None:
        fill_timings(message.timings, event.timings, event.usage)
    if call.plan is not None:
        if call.plan.lasting:
            message.routing_decision.CopyFrom(_lasting_decision(call.plan))
        else:
            fill_decision(message.routing_decision, call.plan, MAX_CANDIDATES)
    for record in call.attempts:
        _fill_attempt(message.attempts.add(), record)
    for notice in call.notices:
        message.notices.add(
            code=_NOTICE_CODES[notice.code],
            subject=notice.subject,
            message=notice.message,
        )
    if call.scope.trace is not None:
        message.trace.trace_id, message.trace.span_id = call.scope.trace.trace_id, call.scope.trace.span_id


def _fill_attempt(message: reply_pb2.Attempt, record: AttemptRecord) -> None:
    message.number = record.number
    message.target.CopyFrom(_known_target(record.target))
    if record.outcome is not None:
        message.outcome = _OUTCOMES[record.outcome]
    message.latency_us = round(record.latency_s * 1_000_000)
    message.billed = record.usage is not None
    if record.reason is not None:
        message.reason = error_pb2.ErrorReason.Value(f"ERROR_REASON_{record.reason}")
    if record.http_status is not None:
        message.http_status = record.http_status
    if record.time_to_first_token_s is not None:
        message.time_to_first_token_us = round(record.time_to_first_token_s * 1_000_000)
    if record.cost is not None:
        fill_money(message.cost, record.cost.total_nano_usd)


def _logprob(found: Logprob) -> reply_pb2.TokenLogprob:
    message = reply_pb2.TokenLogprob(token=found.token, logprob=found.logprob, utf8=found.utf8)
    for token, logprob, utf8 in found.top:
        message.top.add(token=token, logprob=logprob, utf8=utf8)
    return message


def _verdict(event: GuardrailVerdict) -> reply_pb2.GuardrailVerdict:
    return reply_pb2.GuardrailVerdict(check=event.check, action=event.action, category=event.category)
