"""What the tests of calls with several targets share: a model whose targets fail by script, and all that a call left.

The targets stand in the order of their scripts at the accounts `one`, `two` and `three`; the same model everywhere, so
that any of them may serve the call. Leaving the gateway's context looks for the canaries, so every row does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from llmgateway.v1 import reply_pb2
from llmgateway_server.attempts.breakers import BreakerView
from llmgateway_server.core.clock import Clock
from llmgateway_server.providers.wire.http1 import Http1Wire
from llmgateway_server.testing.gateway import running_gateway
from llmgateway_server.testing.upstream import MODEL, Script, Upstream, answer, stream
from tests.faults.canary import Outputs
from tests.faults.kit import settings
from tests.faults.provider_answers import OTHER_KEY, Answered, Keyed
from tests.faults.provider_kit import CANARIES, PROVIDER_KEY, by_kind

ACCOUNTS = ("one", "two", "three")
PUBLIC = "several"
"""The model's public name."""
HELLO = by_kind(stream("hel", "lo", figures={"prompt_tokens": 3, "completion_tokens": 2}), answer("hello"))
PRICE = {"input_usd": "1", "output_usd": "2"}
"""In dollars per million tokens, so that whatever is charged has a cost."""

Place = Script | str
"""A target: what it does with its requests, or a base URL where something else listens."""


@dataclass(slots=True)
class Several:
    """A gateway whose model has several targets."""

    keyed: Keyed
    upstreams: dict[str, Upstream]
    """By account; without those that are base URLs."""

    async def call(self, *, streaming: bool, **options: Any) -> Answered:
        """Makes one call and reads it to its end, whatever that is."""
        return await self.keyed.call(streaming=streaming, model=PUBLIC, **options)

    def asked(self) -> dict[str, int]:
        """Returns how many requests each provider got."""
        return {name: len(upstream.requests) for name, upstream in self.upstreams.items()}

    def breakers(self) -> dict[str, BreakerView]:
        """Returns what the breakers have counted, by account."""
        views = self.keyed.gateway.app.parts.routes.breakers.views()
        return {view.key.provider: view for view in views}

    def verdict(self, account: str) -> str:
        """Returns what the only attempt at an account told its breaker: `failure`, `success` or `neutral`."""
        view = self.breakers()[account]
        assert view.calls <= 1, view
        return "failure" if view.failures else "success" if view.calls else "neutral"


@asynccontextmanager
async def several(
    *places: Place,
    clock: Clock | None = None,
    keys: Mapping[str, int] | None = None,
    models: Sequence[str] = (),
    vendor: str = "openai-compatible",
    **sections: Any,
) -> AsyncIterator[Several]:
    """Runs a gateway whose model has a target for each place, and looks for the canaries at its end.

    Args:
        places: of the targets, in the order in which they are tried.
        clock: the gateway's; the real one by default.
        keys: how many keys an account has, at most two; one by default.
        models: the targets' upstream models; the same by default.
        vendor: of all accounts.
        sections: of the settings.
    """
    names = ACCOUNTS[: len(places)]
    targets = [
        {"provider": name, "model": model, "price": PRICE}
        for name, model in zip(names, models or [MODEL] * len(names), strict=True)
    ]
    document = settings(**{"models": {PUBLIC: {"targets": targets}}, "max_attempts": 3, **sections})
    environment = {"KEY": PROVIDER_KEY, "OTHER_KEY": OTHER_KEY}
    upstreams: dict[str, Upstream] = {}
    async with AsyncExitStack() as stack:
        for name, place in zip(names, places, strict=True):
            url = place
            if not isinstance(place, str):
                upstreams[name] = await stack.enter_async_context(Upstream(place))
                url = upstreams[name].base_url
            references = ["env:KEY", "env:OTHER_KEY"][: (keys or {}).get(name, 1)]
            document["providers"][name] = {"vendor": vendor, "base_url": url, "api_keys": references}
        outputs = stack.enter_context(Outputs(CANARIES | {"other key": OTHER_KEY}))
        async with running_gateway(document, environment=environment, clock=clock) as gateway:
            yield Several(Keyed(gateway, outputs), upstreams)
        outputs.check(gateway)


def use(it: Several, account: str, wire: Http1Wire) -> None:
    """Gives an account another wire, which is closed with the gateway."""
    provider: Any = it.keyed.gateway.app._providers[account]
    provider._wire = wire


def way_of(ended: Answered) -> list[tuple[str, str | None, str]]:
    """Returns account, reason and charge of each attempt as recorded."""
    return [(each["provider"], each["reason"], each["charge"]) for each in ended.attempts]


def told_way_of(ended: Answered) -> list[tuple[str, str, bool]]:
    """Returns account, outcome and whether it is billed of each attempt, as the caller is told."""
    outcome = reply_pb2.AttemptOutcome.Name
    return [
        (each.target.provider, outcome(each.outcome).removeprefix("ATTEMPT_OUTCOME_").lower(), each.billed)
        for each in ended.summary.attempts
    ]
