"""Asks a configured account for two tiny answers, one in one piece and one streamed, and says what is wrong if any is.

The calls go the whole way that callers' go, once the door has let them in: they are recorded, counted and charged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from llmgateway_server.core.calls import Call, CallScope, Deadline
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import DefectError, RequestError, UpstreamError, Violation
from llmgateway_server.core.events import Finished, Timings
from llmgateway_server.core.messages import Message, Part, Role, TextPart
from llmgateway_server.core.money import Cost
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Gateway
from llmgateway_server.core.requests import CompleteRequest, Operation, RoutingOptions
from llmgateway_server.core.targets import Model, ModelStatus
from llmgateway_server.core.usage import Usage
from llmgateway_server.operators.turns import Turns
from llmgateway_server.routing.catalog import Catalog

PROMPT = "Reply with the word OK."
MAX_OUTPUT_TOKENS = 64
"""Enough for a word of a model that thinks a little first; a cap that is reached is a success all the same."""
CHECK_S = 60.0
"""For one of the two calls. What is over it is the provider's fault, unless the operator has less time."""
REST_S = 15.0
"""Between two examinations of an account: eight calls a minute at most, whoever asks for them in a loop."""

HINTS: dict[Reason, str] = {
    Reason.PROVIDER_AUTH_FAILED: "the key was refused: check {setting} and whether the key may use this model",
    Reason.PROVIDER_QUOTA_EXHAUSTED: "the account is used up: check its credit and spending limit",
    Reason.UPSTREAM_RATE_LIMITED: "the account works but is limited at the moment: try again later",
    Reason.MODEL_NOT_FOUND: "the account does not have this model: name another model",
    Reason.UPSTREAM_REJECTED_REQUEST: "the provider refused the request: name another model",
    Reason.UPSTREAM_UNREACHABLE: "nothing answers at {address}: check the address, the network, a proxy",
    Reason.UPSTREAM_TLS: "the certificate of {address} is not acceptable: check the address and the authorities",
    Reason.UPSTREAM_REDIRECT: "{address} redirects, which is not followed: set base_url to where it leads",
    Reason.UPSTREAM_MALFORMED: "the answer is not what this vendor sends: check base_url, up to and with its version",
    Reason.UPSTREAM_RESET: (
        "the connection ended without an answer: check base_url, a proxy, the provider's status page"
    ),
    Reason.UPSTREAM_TIMEOUT: "the provider took too long: try again, or look at its status page",
    Reason.UPSTREAM_OVERLOADED: "the provider is overloaded: try again, or look at its status page",
    Reason.UPSTREAM_ERROR: "the provider failed: try again, or look at its status page",
}
"""What an operator can do about a reason."""


@dataclass(slots=True, frozen=True)
class Subject:
    """An account, as operators are told of it."""

    vendor: str
    address: str
    """Where it is reached; empty for a simulator."""


@dataclass(slots=True, frozen=True)
class Check:
    """How one call went; tokens, money and times of one that succeeded."""

    streamed: bool
    reason: Reason | None = None
    """Why it failed; None when it did not."""
    usage: Usage | None = None
    cost: Cost | None = None
    """None where the model has no price."""
    timings: Timings | None = None


@dataclass(slots=True, frozen=True)
class Verdict:
    """What is known of an account after its checks."""

    provider: str
    subject: Subject
    model: str
    """The provider's own name."""
    checks: tuple[Check, ...]

    @property
    def reason(self) -> Reason | None:
        """Why the first check that failed did; None when all is well."""
        return next((check.reason for check in self.checks if check.reason is not None), None)

    @property
    def hint(self) -> str:
        """What can be done about it; empty when all is well or nothing is known."""
        template = HINTS.get(self.reason, "") if self.reason is not None else ""
        return template.format(setting=f"providers.{self.provider}.api_key", address=self.subject.address)


class Examiner:
    """See the module. One account is examined once at a time, with a rest in between.

    Args:
        gateway: opens the replies.
        catalog: knows the models, and resolves the one that is asked.
        subjects: the accounts by name.
        clock: the checks' time, and the rests.
    """

    def __init__(self, gateway: Gateway, catalog: Catalog, subjects: Mapping[str, Subject], clock: Clock) -> None:
        self._gateway = gateway
        self._catalog = catalog
        self._subjects = subjects
        self._clock = clock
        self._turns = Turns(clock, REST_S)

    async def examine(self, scope: CallScope, provider: str, model: str) -> Verdict:
        """Makes the two calls; what is wrong with the account is a verdict, not an error.

        Args:
            scope: of the operator's call: who asks, and how much time there is.
            provider: the account.
            model: the provider's own name of one; empty for the cheapest one that the catalogue has of the account.

        Raises:
            RequestError: RESOURCE_NOT_FOUND, there is no such account; INVALID_REQUEST, a model must be named.
            AccessError: MODEL_NOT_ALLOWED, the operator may not use the model.
            ShedError: the account is examined by somebody else, or was a moment ago.
            CallEndedError: the operator's time is over.
        """
        subject = self._subjects.get(provider)
        if subject is None:
            raise RequestError(Reason.RESOURCE_NOT_FOUND, slots={"resource": provider})
        wanted = model or cheapest(self._catalog.models(), provider)
        name = f"{provider}/{wanted}"
        self._catalog.describe(name, scope.principal.may_use)
        with self._turns.turn(provider):
            checks = [await self._check(scope, name, streamed=streamed) for streamed in (False, True)]
        return Verdict(provider, subject, wanted, tuple(checks))

    async def _check(self, scope: CallScope, model: str, *, streamed: bool) -> Check:
        own = self._scope(scope)
        call = own.call = Call(own, Operation.COMPLETE, streamed, _request(model), model=model)
        finished: Finished | None = None
        try:
            async with self._gateway.open(call) as reply:
                async for batch in reply:
                    if batch and isinstance(batch[-1], Finished):
                        finished = batch[-1]
        except (UpstreamError, RequestError) as error:
            return Check(streamed, error.reason)
        finally:
            scope.upstream_began |= own.upstream_began
        if finished is None:
            raise DefectError("reply without its last event")
        timings = finished.timings
        if timings is not None and not streamed:  # a reply in one piece has no first token of its own
            timings = replace(timings, time_to_first_token_s=None)
        return Check(streamed, None, finished.usage, finished.cost, timings)

    def _scope(self, scope: CallScope) -> CallScope:
        """Returns the scope of one check: a call of the operator's with its own start, and its own end if it is near.

        An end that is ours is the provider's to answer for; one that the operator set is not.
        """
        now_s = self._clock.monotonic_s()
        own_end = Deadline(now_s + CHECK_S, from_client=False)
        deadline = scope.deadline if scope.deadline.at_s <= own_end.at_s else own_end
        return replace(scope, started_s=now_s, deadline=deadline, upstream_began=False, recorded=False)


def cheapest(models: Iterable[Model], provider: str) -> str:
    """Returns the upstream name of the account's model whose output costs least; unpriced ones come last.

    Raises:
        RequestError: INVALID_REQUEST, there is none, so one must be named.
    """
    targets = [
        target
        for model in models
        if model.status is ModelStatus.READY and Operation.COMPLETE in model.operations
        for target in model.targets
        if target.provider == provider
    ]
    if not targets:
        missing = Violation("model", "must be named: the catalogue has no model of this provider", "model.required")
        raise RequestError(Reason.INVALID_REQUEST, violations=(missing,))
    return min(
        targets, key=lambda each: (each.price is None, each.price.output_pico_usd if each.price else 0)
    ).upstream_model


def _request(model: str) -> CompleteRequest:
    return CompleteRequest(
        model=model,
        messages=[Message(Role.USER, [Part(TextPart(PROMPT))])],
        max_output_tokens=MAX_OUTPUT_TOKENS,
        routing=RoutingOptions(max_attempts=1),
        input_byte_count=len(PROMPT),
    )
