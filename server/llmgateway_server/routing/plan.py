"""The plan of a call: which targets may be tried, in which order, and why. Calls nobody.

Who may serve at all is decided in `eligible`, the order in `strategies`. Then those that cool down after a 429 go last,
and those whose circuit is open are left out while another one is there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from random import Random

from llmgateway_server.attempts.breakers import Breakers
from llmgateway_server.core.calls import Call
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import DefectError, GatewayError, RequestError, UpstreamError, Violation
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import Request, RoutingOptions
from llmgateway_server.core.targets import Candidate, Model, ModelStatus, Plan, Target
from llmgateway_server.routing.cooldown import Cooldowns
from llmgateway_server.routing.eligible import DISABLED, EXCLUDED, NOT_READY, UNTAGGED, Bounds, Left, eligible, suits
from llmgateway_server.routing.settings import RoutingSettings
from llmgateway_server.routing.standing import Standings
from llmgateway_server.routing.strategies.contenders import Contender, Field, Ranked, Wish
from llmgateway_server.routing.strategies.names import Strategy
from llmgateway_server.routing.strategies.order import order
from llmgateway_server.routing.strategies.table import CONFIGURED_ORDER
from llmgateway_server.routing.strategies.wishes import wish_for
from llmgateway_server.routing.switches import Switches

OPEN = "circuit open"
SWITCHED_OFF = "switched off by an operator"
COOLING = "cools down after a rate limit"
FRONT = 16
"""Targets of a model that are looked at first, where their order is known in advance."""
MOST_ATTEMPTS = 3
"""Of a call; it needs no more targets."""
MAX_FIELDS = 2048
"""Models whose targets are kept prepared; callers can pin upstream models, so there must be a bound."""

_WISHES = {
    EXCLUDED: Violation("routing.excluded_providers", "leaves no provider for this model", "routing.excluded"),
    UNTAGGED: Violation("routing.tags", "no target of this model carries all of them", "routing.tags"),
}
_CAPABILITIES = Violation(
    "routing.required_capabilities", "no target of this model has all of them", "routing.required_capabilities"
)
_OURS = frozenset({DISABLED, NOT_READY, SWITCHED_OFF})


class _Prepared(Field):
    """A model's targets, and the plan that nearly every call gets."""

    __slots__ = ("bounds", "usual")

    def __init__(self, model: Model, strategy: Strategy) -> None:
        super().__init__(model.targets)
        self.bounds = Bounds(model.targets)
        self.usual: Plan | None = None
        """Where there is nothing to choose, or the order is always the same: the plan of calls without wishes that
        suit all targets, while nothing bars one."""
        strategy = Strategy(model.strategy or strategy)
        alone = len(model.targets) == 1
        serving = [each.enabled and each.profile.status is not ModelStatus.NOT_READY for each in model.targets]
        if all(serving) and (alone or strategy is Strategy.PRIORITY):
            reason = "only target" if alone else CONFIGURED_ORDER
            targets = tuple(sorted(model.targets, key=lambda each: each.priority))
            told = tuple(Candidate(each, eligible=True, reason=reason) for each in targets)
            self.usual = Plan(model, strategy, targets, lambda: iter(told), lasting=True)


def _resolved(call: Call) -> Model:
    if call.resolved is None:
        raise DefectError("planned before the model was resolved")
    return call.resolved


def _chooses(wishes: RoutingOptions) -> bool:
    """Tells whether the call says anything about its targets."""
    return bool(
        wishes.strategy
        or wishes.preferred_providers
        or wishes.excluded_providers
        or wishes.required_capabilities
        or wishes.tags
    )


class Planner:
    """Makes plans.

    Args:
        settings: of the strategies.
        standings: what is known of the targets.
        breakers: whose circuits are open.
        cooldowns: who said 429 lately.
        switches: whom operators have switched off.
        clock: monotonic time.
        rng: chance.
    """

    def __init__(
        self,
        *,
        settings: RoutingSettings,
        standings: Standings,
        breakers: Breakers,
        cooldowns: Cooldowns,
        switches: Switches,
        clock: Clock,
        rng: Random,
    ) -> None:
        self._settings = settings
        self._standings = standings
        self._breakers = breakers
        self._cooldowns = cooldowns
        self._switches = switches
        self._clock = clock
        self._rng = rng
        self._fields: OrderedDict[int, tuple[Model, _Prepared]] = OrderedDict()

    def plan(self, call: Call, *, whole: bool = False) -> Plan:
        """Orders the targets of the call's model.

        Args:
            call: whose model is resolved.
            whole: whether all targets must be in the plan. Otherwise, where priority alone makes the order, only the
                first ones are looked at while they suffice: a plan then costs the same for any number of targets.

        Raises:
            RequestError: INVALID_REQUEST, the caller's own wishes leave no target.
            UpstreamError: CIRCUIT_OPEN, all targets are set aside after failures; NO_HEALTHY_PROVIDER, the operator has
                switched all of them off.
        """
        model = _resolved(call)
        field = self._field(model)
        if field.usual is not None and not _chooses(call.request.routing) and self._suits_all(field, call.request):
            return field.usual
        strategy, wish = self._wish(call, model)
        kept, left = self._front(field, strategy, wish) if not whole else ([], [])
        if not kept:
            kept, left = eligible(field.contenders(self._standings), wish, self._barred)
        if not kept:
            raise self._nothing_left(model, left)
        ranked = order(strategy, kept, wish)
        targets = self._cooldowns.ordered([each.contender.target for each in ranked])
        return Plan(model, strategy, targets, lambda: self._told(targets, ranked, left))

    def _suits_all(self, field: _Prepared, request: Request) -> bool:
        """Tells whether nothing speaks against any target of a model; costs the same for any number of them.

        An only target is asked whatever it is asked for: its own answer says best what is wrong.
        """
        if len(field) == 1:
            return field.usual is not None and not self._barred(field.usual.targets[0])
        return (
            self._breakers.all_closed and self._switches.all_on and self._cooldowns.none and field.bounds.hold(request)
        )

    def _front(self, field: _Prepared, strategy: Strategy, wish: Wish) -> tuple[list[Contender], Left]:
        """Returns the first targets by priority and those left out among them; none where more must be looked at."""
        if strategy is not Strategy.PRIORITY or wish.preferred_providers or len(field) <= FRONT:
            return [], []
        kept, left = eligible(field.front(self._standings, FRONT), wish, self._barred)
        enough = len(kept) >= MOST_ATTEMPTS and suits(kept[0], wish)
        return (kept, left) if enough else ([], [])

    def left_out(self, call: Call) -> Plan:
        """Returns, for a call that `plan` refuses, a plan without targets that says why each is left out."""
        model = _resolved(call)
        strategy, wish = self._wish(call, model)
        _, left = eligible(self._field(model).contenders(self._standings), wish, self._barred)
        return Plan(model, strategy, (), lambda: self._told((), (), left))

    def _wish(self, call: Call, model: Model) -> tuple[Strategy, Wish]:
        """Returns the strategy that orders the targets of a call, and what the call wishes of them."""
        wishes = call.request.routing
        strategy = Strategy(wishes.strategy or model.strategy or self._settings.strategy)
        wish = wish_for(
            call.request,
            strategy,
            self._settings,
            self._rng,
            self._clock.monotonic_s(),
            capabilities=wishes.required_capabilities,
            tags=wishes.tags,
            session=wishes.session_affinity_key,
        )
        return strategy, wish

    def _field(self, model: Model) -> _Prepared:
        known = self._fields.get(id(model))
        if known is not None and known[0] is model:
            self._fields.move_to_end(id(model))
            return known[1]
        field = _Prepared(model, self._settings.strategy)
        self._fields[id(model)] = (model, field)
        if len(self._fields) > MAX_FIELDS:
            self._fields.popitem(last=False)
        return field

    def _barred(self, target: Target) -> str:
        if self._switches.is_off(target):
            return SWITCHED_OFF
        return OPEN if self._breakers.retry_in_s(target) > 0 else ""

    def _told(self, targets: Sequence[Target], ranked: Sequence[Ranked], left: Left) -> Iterator[Candidate]:
        """Yields the candidates with their reasons."""
        places = {id(each.contender.target): each for each in ranked}
        before = [each.contender.target for each in ranked]
        for i, target in enumerate(targets):
            moved = target is not before[i] and self._cooldowns.left_s(target) > 0
            yield Candidate(target, eligible=True, reason=COOLING if moved else places[id(target)].reason)
        for contender, reason in left:
            yield Candidate(contender.target, eligible=False, reason=reason)

    def _nothing_left(self, model: Model, left: Sequence[tuple[Contender, str]]) -> GatewayError:
        reasons = {reason for _, reason in left}
        if OPEN in reasons:
            closed = [contender.target for contender, reason in left if reason == OPEN]
            return UpstreamError(
                Reason.CIRCUIT_OPEN, slots={"model": model.name}, retry_after_s=self._breakers.soonest_s(closed)
            )
        for reason, violation in _WISHES.items():
            if reason in reasons:
                return RequestError(Reason.INVALID_REQUEST, violations=(violation,))
        if reasons <= _OURS:
            return UpstreamError(Reason.NO_HEALTHY_PROVIDER, slots={"model": model.name})
        return RequestError(Reason.INVALID_REQUEST, violations=(_CAPABILITIES,))
