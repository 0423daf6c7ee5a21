"""Counts what ended into the metrics of the table. Nothing is formatted here, and nothing waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llmgateway_server.core.calls import AttemptRecord, Call, Outcome
from llmgateway_server.core.errors import GatewayError
from llmgateway_server.core.events import Timings
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.targets import Model, Target
from llmgateway_server.observe import metrics
from llmgateway_server.observe.metrics import MAX_SERIES, NONE, OTHER, Across, Metric
from llmgateway_server.observe.series import Budget, Change, Family, Histogram, Labels, Level, family_of

STREAMING = ("false", "true")
TURNED_AWAY = frozenset({Outcome.FAILED, Outcome.SHED})

SUPPRESSED = "retrySuppressed"
"""The slot of a failure that says that only the retry budget forbade another attempt (`routing.progress`)."""

Changes = dict[str, list[Change]]
"""What the metrics of a process grew by, by name."""


class Counting:
    """The counters of this process. They only grow: Prometheus makes rates of them.

    Args:
        providers: the configured accounts.
        models: the catalogue. A model that is asked for as `provider/model` is counted under its public name; one
            that the catalogue does not have, under `other`.
        set_aside: reasons after which a provider's key is set aside.
        max_series: most series; all but the counted ones have one each.
    """

    def __init__(
        self,
        providers: Iterable[str] = (),
        models: Iterable[Model] = (),
        set_aside: frozenset[Reason] = frozenset(),
        *,
        max_series: int = MAX_SERIES,
    ) -> None:
        known = tuple(models)
        self._models = {str(target): model.name for model in known for target in model.targets}
        self._models |= {model.name: model.name for model in known} | {"": NONE}
        self._providers = {name: name for name in providers}
        self._set_aside = set_aside
        self._budget = Budget(metrics.METRICS, max_series)
        self.families: dict[Metric, Family] = {}
        self.open_streams = 0
        self._folded = self._family(metrics.FOLDED)
        for cause in ("unknown", "full"):  # they must be there before there is no room
            self._folded.add((cause,), 0)
        self._requests = self._family(metrics.REQUESTS)
        self._request_duration = self._histogram(metrics.REQUEST_DURATION)
        self._first_token = self._histogram(metrics.FIRST_TOKEN)
        self._input_tokens = self._family(metrics.INPUT_TOKENS)
        self._output_tokens = self._family(metrics.OUTPUT_TOKENS)
        self._cost = self._family(metrics.COST)
        self._cache = {True: self._family(metrics.CACHE_HITS), False: self._family(metrics.CACHE_MISSES)}
        self._refused = self._family(metrics.REFUSED)
        self._attempts = self._family(metrics.ATTEMPTS)
        self._attempt_duration = self._histogram(metrics.ATTEMPT_DURATION)
        self._request_bytes = self._family(metrics.REQUEST_BYTES)
        self._response_bytes = self._family(metrics.RESPONSE_BYTES)
        self._keys_set_aside = self._family(metrics.KEYS_SET_ASIDE)
        self._family(metrics.BREAKER_STATE)
        self._breaker_transitions = self._family(metrics.BREAKER_TRANSITIONS)
        self._retries = self._family(metrics.RETRIES)
        self._retries_suppressed = self._family(metrics.RETRIES_SUPPRESSED)
        self._health_checks = self._family(metrics.HEALTH_CHECKS)
        self._drains = self._family(metrics.DRAINS)
        self._workers = self._family(metrics.WORKERS)
        self._worker_restarts = self._family(metrics.WORKER_RESTARTS)

    def has_model(self, name: str) -> bool:
        """Whether the catalogue has a public name, or a target written as `provider/model`."""
        return name in self._models

    def call_began(self, call: Call) -> None:
        """Counts a call that entered the request ring; `call_ended` must follow."""
        self.open_streams += call.streaming

    def call_ended(self, call: Call, outcome: Outcome, timings: Timings, error: GatewayError | None) -> None:
        """Counts a call and its attempts."""
        self.open_streams -= call.streaming
        model = self._known(self._models, call.model)
        provider = NONE
        for record in call.attempts:
            provider = self._attempt_ended(record, model)
        streaming = STREAMING[call.streaming]
        self._requests.add((call.operation, model, provider, outcome))
        self._request_duration.observe((call.operation, streaming, outcome), timings.total_s * 1000)
        if timings.time_to_first_token_s is not None:
            self._first_token.observe((provider, streaming), timings.time_to_first_token_s * 1000)
        if not call.attempts:
            self._turned_away(outcome, error)
        elif len(call.attempts) > 1:
            self._retried(call.attempts)
        if error is not None and SUPPRESSED in error.slots:
            self._retries_suppressed.add((provider,))

    def refused(self, outcome: Outcome, latency_s: float, error: GatewayError | None) -> None:
        """Counts a call that ended before it reached the request ring."""
        self._requests.add((NONE, NONE, NONE, outcome))
        self._request_duration.observe((NONE, STREAMING[False], outcome), latency_s * 1000)
        self._turned_away(outcome, error)

    def cache_looked_up(self, *, hit: bool) -> None:
        """Counts a look-up of the response cache."""
        self._cache[hit].add(())

    def breaker_changed(self, provider: str, state: str) -> None:
        """Counts a transition of a circuit breaker.

        Args:
            provider: the account of its target.
            state: that it has now.
        """
        self._breaker_transitions.add((self._known(self._providers, provider), state))

    def became(self, metric: Metric, values: Mapping[Labels, int]) -> None:
        """Takes in a labelled gauge as it is now."""
        family = self.families[metric]
        if not isinstance(family, Level):
            raise TypeError(metric.name)
        family.become(values)

    def health_checked(self, provider: str, outcome: str) -> None:
        """Counts a check of a target."""
        self._health_checks.add((self._known(self._providers, provider), outcome))

    def drained(self, provider: str, outcome: str) -> None:
        """Counts a stream that was read on after its caller had left, or was not."""
        self._drains.add((self._known(self._providers, provider), outcome))

    def worker_became(self, state: str, before: str) -> None:
        """Counts a worker in its new state instead of the one before; an empty word is none."""
        for each, amount in ((before, -1), (state, 1)):
            if each:
                self._workers.add((each,), amount)

    def worker_restarted(self) -> None:
        """Counts a worker that ended and is replaced."""
        self._worker_restarts.add(())

    def take(self) -> Changes:
        """Returns what was counted since the last time, by metric, and begins at 0 again."""
        taken = {metric.name: family.take() for metric, family in self.families.items() if metric.across is Across.SUM}
        return {name: changes for name, changes in taken.items() if changes}

    def absorb(self, changes: Changes) -> None:
        """Adds what the counting of another process took. Its names are taken as they are."""
        for metric, family in self.families.items():
            family.absorb(changes.get(metric.name, ()))

    def _turned_away(self, outcome: Outcome, error: GatewayError | None) -> None:
        if error is not None and outcome in TURNED_AWAY:
            self._refused.add((error.reason,))

    def _retried(self, records: Iterable[AttemptRecord]) -> None:
        asked: set[Target] = set()
        for record in records:
            if record.outcome is Outcome.SHED:  # its breaker let nothing through, so nobody was asked
                continue
            if record.target in asked:
                self._retries.add((self._known(self._providers, record.target.provider),))
            asked.add(record.target)

    def _attempt_ended(self, record: AttemptRecord, model: str) -> str:
        """Counts an attempt and returns its provider's label."""
        provider = self._known(self._providers, record.target.provider)
        outcome, reason = record.outcome or Outcome.CANCELLED, record.reason
        self._attempts.add((provider, outcome, reason or NONE))
        self._attempt_duration.observe((provider, outcome), record.latency_s * 1000)
        usage = record.usage
        if usage is not None:
            self._input_tokens.add((provider, model), usage.input_token_count or 0)
            self._output_tokens.add((provider, model), usage.output_token_count or 0)
        if record.cost is not None:
            self._cost.add((provider, model), record.cost.total_nano_usd)
        if record.request_bytes:
            self._request_bytes.add((provider,), record.request_bytes)
            self._response_bytes.add((provider,), record.response_bytes)
        if reason in self._set_aside and record.key_id and record.http_status not in (None, 200):
            self._keys_set_aside.add((provider, reason))
        return provider

    def _known(self, names: dict[str, str], name: str) -> str:
        label = names.get(name)
        if label is None:
            self._folded.add(("unknown",))
            return OTHER
        return label

    def _full(self) -> None:
        self._folded.add(("full",))

    def _family(self, metric: Metric) -> Family:
        family = self.families[metric] = family_of(metric, self._budget, self._full)
        return family

    def _histogram(self, metric: Metric) -> Histogram:
        family = self._family(metric)
        if not isinstance(family, Histogram):
            raise TypeError(metric.name)
        return family
