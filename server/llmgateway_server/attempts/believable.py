"""Judges what a provider says that an attempt used: a figure that cannot be would be charged to somebody.

| count | believed from 0 up to the largest of |
| --- | --- |
| input | 10 · our estimate + 1,000 + 32 for each part and tool + the length of a response schema |
| … with media or a vendor's own state, whose size we do not see | as above; the model's context, 2,000,000 if unknown |
| … to which the vendor's own tools may add, pass after pass | as above; the context; 2,000,000 |
| output | 10 · our estimate of what was delivered + 1,000; the cap on output tokens, 200,000 if unknown |
| … of several passes | as above; 200,000 |

Output may exceed what was delivered by far, because reasoning is billed and not always shown. Our estimate of the input
divides bytes by four, and no tokenizer makes more than one token of a byte: the rest of the factor is for what vendors
put around messages. Details of a total are held to the bound of the total.
"""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter

from llmgateway_server.attempts.bounds import output_token_cap, with_slack
from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.messages import MediaPart, Part, ToolResultPart
from llmgateway_server.core.requests import CompleteRequest
from llmgateway_server.core.usage import Usage, UsageSource

FACTOR = 10
ALLOWANCE = 1_000
"""Tokens around every request, for example the instructions that vendors add for tools."""
ITEM_ALLOWANCE = 32
"""Tokens around a part or a tool: role, name, id."""
LARGEST_INPUT = 2_000_000
LARGEST_OUTPUT = 200_000

INPUT_DETAILS = (
    "cache_read_token_count",
    "cache_write_5m_token_count",
    "cache_write_1h_token_count",
    "input_audio_token_count",
    "input_image_token_count",
    "tool_use_token_count",
)
OUTPUT_DETAILS = (
    "reasoning_token_count",
    "output_audio_token_count",
    "output_image_token_count",
    "accepted_prediction_token_count",
    "rejected_prediction_token_count",
)

_taken = attrgetter("input_token_count", *INPUT_DETAILS)
_given = attrgetter("output_token_count", *OUTPUT_DETAILS)


def is_believable(usage: Usage, estimate: Usage, attempt: Attempt, *, vendor_read_more: bool) -> bool:
    """Tells whether all counts of a report can be.

    Args:
        usage: the report; what is absent in it is no reason to doubt the rest.
        estimate: our own estimate of both totals so far.
        vendor_read_more: whether the reply shows work of the vendor's own tools: sources, or blocks of theirs beside a
            text.
    """
    taken = [count for count in _taken(usage) if count is not None]
    given = [count for count in _given(usage) if count is not None]
    likely_input = FACTOR * (estimate.input_token_count or 0) + ALLOWANCE
    likely_output = FACTOR * (estimate.output_token_count or 0) + ALLOWANCE
    several_passes = vendor_read_more or bool(getattr(attempt.call.request, "provider_options", None))
    return (
        min((*taken, *given), default=0) >= 0
        and (max(taken, default=0) <= likely_input or max(taken) <= _most_input(attempt, likely_input, several_passes))
        and (max(given, default=0) <= likely_output or max(given) <= _most_output(attempt, several_passes))
    )


def filled(usage: Usage, estimate: Usage, *, has_output: bool) -> Usage:
    """Returns a report with our estimate in the place of a total that it lacks.

    Absent is not free. The whole is then ESTIMATED; details of the estimated total are left out: they would not fit.

    Args:
        estimate: our own estimate of both totals.
        has_output: whether the operation has output tokens at all.
    """
    missing: dict[str, int | None] = {}
    if usage.input_token_count is None:
        missing |= dict.fromkeys(INPUT_DETAILS) | {"input_token_count": estimate.input_token_count}
    if usage.output_token_count is None and has_output:
        missing |= dict.fromkeys(OUTPUT_DETAILS) | {"output_token_count": estimate.output_token_count}
    return replace(usage, **missing, source=UsageSource.ESTIMATED) if missing else usage


def _most_input(attempt: Attempt, likely: int, several_passes: bool) -> int:
    request = attempt.call.request
    context = attempt.target.profile.context_token_count
    if not isinstance(request, CompleteRequest):
        return likely
    if several_passes:
        return max(likely, context or 0, LARGEST_INPUT)
    parts = [part for message in request.messages for part in message.parts]
    if any(map(_is_opaque, parts)):
        return max(likely, context or LARGEST_INPUT)
    schema = len(request.response_format.schema_json) if request.response_format else 0
    return likely + ITEM_ALLOWANCE * (len(parts) + len(request.tools)) + schema


def _most_output(attempt: Attempt, several_passes: bool) -> int:
    cap = output_token_cap(attempt)
    if cap is None:
        return LARGEST_OUTPUT
    return max(with_slack(cap), LARGEST_OUTPUT if several_passes else 0)


def _is_opaque(part: Part) -> bool:
    """Tells whether we cannot see how much a part makes the model read."""
    content = part.content
    pieces = content.content if isinstance(content, ToolResultPart) else (content,)
    return part.provider_state is not None or any(isinstance(piece, MediaPart) for piece in pieces)
