"""Who may serve a call, and why the others may not.

What the operator or the caller says is final: enabled, ready, providers, tags, required capabilities. What the gateway
makes out by itself from profiles and estimates (whether tools, pictures or the length suit a target) only chooses:
where it would leave nobody, it is waived, because the provider's own answer says better what is wrong. What bars a
target for the moment comes last, so that it never sends a call to one that cannot serve it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from llmgateway_server.core.messages import Content, MediaPart, ToolResultPart
from llmgateway_server.core.requests import CompleteRequest, CountTokensRequest, EmbedRequest, FormatKind, Request
from llmgateway_server.core.targets import Capability, ModelStatus, Target
from llmgateway_server.core.usage import estimate_token_count
from llmgateway_server.routing.strategies.contenders import Contender, Wish

Barred = Callable[[Target], str]
"""Says in a few words why a target may not be tried now, for example because its circuit is open; empty: it may."""
Left = list[tuple[Contender, str]]
"""Those left out, each with the reason."""

DISABLED = "disabled"
NOT_READY = "not ready"
EXCLUDED = "excluded by the request"
UNTAGGED = "lacks a tag of the request"
TOO_LONG = "context too small"
TOO_MUCH = "output limit too small"

MEDIA: tuple[tuple[str, Capability], ...] = (
    ("image/", Capability.VISION),
    ("audio/", Capability.AUDIO_INPUT),
    ("application/pdf", Capability.DOCUMENT_INPUT),
)
"""What a model must be able to take, by the beginning of the media type."""
FORMATS = {FormatKind.JSON_OBJECT: Capability.JSON_OBJECT, FormatKind.JSON_SCHEMA: Capability.JSON_SCHEMA}


def eligible(contenders: Sequence[Contender], wish: Wish, barred: Barred | None = None) -> tuple[list[Contender], Left]:
    """Parts those that may serve the call from those that may not; both keep their order.

    Args:
        contenders: in the configured order.
        wish: what the call wishes.
        barred: what bars a target for now; None: nothing.
    """
    left: Left = []
    kept = _kept(contenders, left, _refusal, wish)
    if wish.needs or wish.max_output_token_count is not None or wish.input_token_count:
        unsuited: Left = []
        suited = _kept(kept, unsuited, _misfit, wish)
        if suited and unsuited:
            kept = suited
            left += unsuited
    if barred is not None:
        kept = _kept(kept, left, lambda each, _: barred(each.target), wish)
    return kept, left


class Bounds:
    """What suits all of some targets at once: a request within them is a misfit for none (`suits`).

    Args:
        targets: of a model.
    """

    __slots__ = ("_capabilities", "_context", "_output")

    def __init__(self, targets: Sequence[Target]) -> None:
        profiles = [each.profile for each in targets]
        known = [each.capabilities for each in profiles if each.capabilities]
        self._capabilities = frozenset.intersection(*known) if known else None
        self._context = min((size for each in profiles if (size := each.context_token_count) is not None), default=inf)
        self._output = min(
            (size for each in profiles if (size := each.max_output_token_count) is not None), default=inf
        )

    def hold(self, request: Request) -> bool:
        """Tells whether a request is within the bounds."""
        asked = (request.max_output_tokens or 0) if isinstance(request, CompleteRequest) else 0
        if asked > self._output or estimate_token_count(request.input_byte_count) + asked > self._context:
            return False
        return self._capabilities is None or needs_of(request) <= self._capabilities


def suits(contender: Contender, wish: Wish) -> bool:
    """Tells whether nothing that the gateway makes out by itself speaks against a target."""
    return not _misfit(contender, wish)


def needs_of(request: Request) -> frozenset[str]:
    """Returns the capabilities that a request needs by what it holds."""
    if isinstance(request, EmbedRequest):
        return frozenset({Capability.EMBEDDING})
    completion = request.completion if isinstance(request, CountTokensRequest) else request
    needs: set[str] = set()
    if completion.tools:
        needs.add(Capability.TOOLS)
    if completion.response_format is not None and (form := FORMATS.get(completion.response_format.kind)):
        needs.add(form)
    needs.update(_media(completion))
    return frozenset(needs)


def _kept(
    contenders: Sequence[Contender], left: Left, reason_against: Callable[[Contender, Wish], str], wish: Wish
) -> list[Contender]:
    kept = []
    for each in contenders:
        if reason := reason_against(each, wish):
            left.append((each, reason))
        else:
            kept.append(each)
    return kept


def _refusal(contender: Contender, wish: Wish) -> str:
    """Returns what is final against a target."""
    target = contender.target
    if not target.enabled:
        return DISABLED
    if target.profile.status is ModelStatus.NOT_READY:
        return NOT_READY
    if target.provider in wish.excluded_providers:
        return EXCLUDED
    if wish.tags and not wish.tags <= target.tags:
        return UNTAGGED
    if wish.capabilities and not wish.capabilities <= target.profile.capabilities:
        return _lacks(wish.capabilities - target.profile.capabilities)
    return ""


def _misfit(contender: Contender, wish: Wish) -> str:
    """Returns what the gateway makes out against a target; what is not known of it speaks for it."""
    profile = contender.target.profile
    if wish.needs and profile.capabilities and not wish.needs <= profile.capabilities:
        return _lacks(wish.needs - profile.capabilities)
    asked = wish.max_output_token_count or 0
    if profile.context_token_count is not None and wish.input_token_count + asked > profile.context_token_count:
        return TOO_LONG
    if profile.max_output_token_count is not None and asked > profile.max_output_token_count:
        return TOO_MUCH
    return ""


def _lacks(capabilities: frozenset[str]) -> str:
    return f"lacks {', '.join(sorted(capabilities))}"


def _media(request: CompleteRequest) -> set[str]:
    found: set[str] = set()
    for message in request.messages:
        for part in message.parts:
            _add(part.content, found)
    return found


def _add(content: Content, found: set[str]) -> None:
    if isinstance(content, MediaPart):
        found.update(capability for start, capability in MEDIA if content.mime_type.startswith(start))
    elif isinstance(content, ToolResultPart):
        for inner in content.content:
            if isinstance(inner, MediaPart):
                _add(inner, found)
