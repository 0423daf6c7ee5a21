"""What is known of each target now: how fast, how reliable, how busy; learned from the attempts that ended.

Everything that is learned fades: a sum S of samples becomes S · 2^(−Δt ÷ half-life) after Δt seconds, so that means are
exponentially weighted by age, not by number, and a target that is left alone is worth a try again after a while.

    fade             = 2^(−(now − last sample) ÷ half_life_s)
    first_token_s    = (Σ seconds to first token · fade + 0.2) ÷ (samples · fade + 1)
    pace             = (Σ output tokens · fade + 200) ÷ (Σ seconds of output · fade + 1)      tokens per second
    error_rate       = failures · fade ÷ (attempts judged · fade + 2)
    health           = (1 − error_rate) · 1 ÷ (1 + consecutive failures · fade ÷ 3)
                       · min(1, slow_first_token_s ÷ first_token_s)                           0 to 1

The constants stand for attempts that nobody made: one with a first token after 0.2 s and 200 tokens in one second,
which is faster than most, so that an untried target gets its chance; and two successes, so that one failure is no
verdict.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import exp2

from llmgateway_server.core.calls import AttemptRecord, Outcome
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.targets import Target

MAX_STANDINGS = 4096
"""Targets that are remembered; callers can pin upstream models, so there must be a bound."""
GUESSED_FIRST_TOKEN_S = 0.2
GUESSED_TOKENS_PER_S = 200.0
GUESSED_SUCCESSES = 2.0
FAILURES_TO_A_QUARTER_LESS = 3.0
"""Consecutive failures count `1 ÷ (1 + n ÷ 3)`: one takes a quarter away, three take half."""

FAILURES = frozenset(
    {
        Reason.UPSTREAM_UNREACHABLE,
        Reason.UPSTREAM_TLS,
        Reason.UPSTREAM_RESET,
        Reason.UPSTREAM_TIMEOUT,
        Reason.UPSTREAM_STALLED,
        Reason.UPSTREAM_MALFORMED,
        Reason.UPSTREAM_STREAM_INTERRUPTED,
        Reason.UPSTREAM_ERROR,
        Reason.UPSTREAM_OVERLOADED,
        Reason.UPSTREAM_REDIRECT,
        Reason.UPSTREAM_UNCLASSIFIED,
    }
)
"""What speaks against a target."""
ANSWERS = frozenset(
    {
        Reason.UPSTREAM_REJECTED_REQUEST,
        Reason.CONTEXT_LENGTH_EXCEEDED,
        Reason.CONTENT_POLICY,
        Reason.REQUEST_TOO_LARGE,
        Reason.OUTPUT_SCHEMA_MISMATCH,
    }
)
"""Refusals that the request caused: the target works. Any other reason (limits, keys, cancels) says nothing of it."""


@dataclass(slots=True, frozen=True)
class Figures:
    """What is known of a target at one moment.

    Attributes:
        first_token_s: seconds to the first token.
        tokens_per_s: pace of the output after it.
        error_rate: share of failures, 0 to 1.
        health: 0 to 1; 1 for a target of which nothing is known.
        consecutive_failures: since the last success.
        in_flight: attempts that run.
        last_used: number of the attempt that began last, counted over all targets; 0 for none.
        sample_count: weight of what `first_token_s` stands on; 0 where it is a guess.
    """

    first_token_s: float
    tokens_per_s: float
    error_rate: float
    health: float
    consecutive_failures: int
    in_flight: int
    last_used: int
    sample_count: float


class Standing:
    """What is known of one target. Sums are as of `_at_s`; reading them lets them fade until the time given.

    Args:
        half_life_s: after which what was learned counts half.
        slow_first_token_s: above which a first token costs health.
    """

    __slots__ = (
        "_at_s",
        "_failures",
        "_first_token_count",
        "_first_token_s",
        "_half_life_s",
        "_judged",
        "_output_s",
        "_output_tokens",
        "_slow_first_token_s",
        "consecutive_failures",
        "in_flight",
        "last_used",
    )

    def __init__(self, half_life_s: float = 60.0, slow_first_token_s: float = 10.0) -> None:
        self._half_life_s = half_life_s
        self._slow_first_token_s = slow_first_token_s
        self._at_s = 0.0
        self._first_token_s = self._first_token_count = 0.0
        self._output_s = self._output_tokens = 0.0
        self._failures = self._judged = 0.0
        self.consecutive_failures = 0
        self.in_flight = 0
        self.last_used = 0

    def speed(self, now_s: float, output_token_count: float) -> tuple[float, float]:
        """Returns the seconds that a whole answer is expected to take, and the health; see the module.

        expected_s = first_token_s + output_token_count ÷ pace

        Args:
            now_s: on the monotonic clock.
            output_token_count: of the answer.
        """
        fade = exp2((self._at_s - now_s) / self._half_life_s) if self._at_s else 0.0
        first_token_s = (self._first_token_s * fade + GUESSED_FIRST_TOKEN_S) / (self._first_token_count * fade + 1.0)
        pace = (self._output_tokens * fade + GUESSED_TOKENS_PER_S) / (self._output_s * fade + 1.0)
        health = 1.0 - self._failures * fade / (self._judged * fade + GUESSED_SUCCESSES)
        if self.consecutive_failures:
            health /= 1.0 + self.consecutive_failures * fade / FAILURES_TO_A_QUARTER_LESS
        if first_token_s > self._slow_first_token_s:
            health *= self._slow_first_token_s / first_token_s
        return first_token_s + output_token_count / pace, health

    def health(self, now_s: float) -> float:
        """Returns the health, 0 to 1."""
        return self.speed(now_s, 0.0)[1]

    def figures(self, now_s: float) -> Figures:
        """Returns everything, for people."""
        fade = self._fade(now_s)
        first_token_s, health = self.speed(now_s, 0.0)
        return Figures(
            first_token_s=first_token_s,
            tokens_per_s=(self._output_tokens * fade + GUESSED_TOKENS_PER_S) / (self._output_s * fade + 1.0),
            error_rate=self._failures * fade / (self._judged * fade + GUESSED_SUCCESSES),
            health=health,
            consecutive_failures=self.consecutive_failures,
            in_flight=self.in_flight,
            last_used=self.last_used,
            sample_count=self._first_token_count * fade,
        )

    def judge(self, *, failed: bool, now_s: float) -> None:
        """Notes that the target failed or worked."""
        self._age(now_s)
        self._judged += 1.0
        if failed:
            self._failures += 1.0
            self.consecutive_failures += 1
        else:
            self.consecutive_failures = 0

    def time(self, latency_s: float, first_token_s: float | None, output_token_count: int, now_s: float) -> None:
        """Notes how long a reply took.

        Args:
            latency_s: from its begin to its end.
            first_token_s: to its first token; None for a reply that came whole. Of that, what is left after the usual
                time to the first token is taken for the time of its output.
            output_token_count: 0 for a reply that is no text, such as embeddings: all of its time counts as first.
            now_s: on the monotonic clock.
        """
        self._age(now_s)
        if first_token_s is not None or not output_token_count:
            first_s = latency_s if first_token_s is None else first_token_s
            self._first_token_s += first_s
            self._first_token_count += 1.0
        else:
            usual_s = (self._first_token_s + GUESSED_FIRST_TOKEN_S) / (self._first_token_count + 1.0)
            first_s = min(usual_s, latency_s / 2)
        if output_token_count:
            self._output_s += max(0.0, latency_s - first_s)
            self._output_tokens += output_token_count

    def _fade(self, now_s: float) -> float:
        return exp2(min(0.0, self._at_s - now_s) / self._half_life_s)

    def _age(self, now_s: float) -> None:
        if now_s == self._at_s:
            return
        fade = self._fade(now_s)
        self._at_s = now_s
        self._first_token_s *= fade
        self._first_token_count *= fade
        self._output_s *= fade
        self._output_tokens *= fade
        self._failures *= fade
        self._judged *= fade


class Standings:
    """The standing of every target that was used lately; each call costs constant time.

    Args:
        clock: monotonic time.
        half_life_s: see `Standing`.
        slow_first_token_s: see `Standing`.
        max_known: targets that are remembered, or twice those with a call in flight where these are more; the longest
            unused is forgotten first, one with a call in flight never.
    """

    def __init__(
        self,
        clock: Clock,
        half_life_s: float = 60.0,
        slow_first_token_s: float = 10.0,
        max_known: int = MAX_STANDINGS,
    ) -> None:
        self._clock = clock
        self._half_life_s = half_life_s
        self._slow_first_token_s = slow_first_token_s
        self._max_known = max_known
        self._known: OrderedDict[tuple[str, str, str], Standing] = OrderedDict()
        self._unknown = Standing(half_life_s, slow_first_token_s)
        self._last_number = 0

    def __len__(self) -> int:
        return len(self._known)

    def of(self, target: Target) -> Standing:
        """Returns what is known of a target, to be read only; of one that was never used, what holds for all such."""
        return self._known.get(_key(target), self._unknown)

    def began(self, target: Target) -> None:
        """Notes that an attempt begins; one `ended` must follow."""
        key = _key(target)
        standing = self._known.get(key)
        if standing is None:
            standing = self._known[key] = Standing(self._half_life_s, self._slow_first_token_s)
            self._forget()
        else:
            self._known.move_to_end(key)
        self._last_number += 1
        standing.last_used = self._last_number
        standing.in_flight += 1

    def ended(self, record: AttemptRecord, *, streamed: bool) -> None:
        """Learns from an attempt that ended.

        Args:
            record: complete; its target was told to `began`.
            streamed: whether its reply came piece by piece, so that its first token says something.
        """
        standing = self._known.get(_key(record.target))
        if standing is None:
            return
        standing.in_flight -= 1
        now_s = self._clock.monotonic_s()
        if record.outcome is Outcome.SUCCEEDED:
            standing.judge(failed=False, now_s=now_s)
            if record.usage is not None:
                first_token_s = record.time_to_first_token_s if streamed else None
                standing.time(record.latency_s, first_token_s, record.usage.output_token_count or 0, now_s)
        elif record.outcome is Outcome.FAILED and record.reason in FAILURES:
            standing.judge(failed=True, now_s=now_s)
        elif record.reason in ANSWERS:
            standing.judge(failed=False, now_s=now_s)

    def figures(self) -> dict[tuple[str, str, str], Figures]:
        """Returns what is known by provider, upstream model and region, the longest unused first."""
        now_s = self._clock.monotonic_s()
        return {key: standing.figures(now_s) for key, standing in self._known.items()}

    def _forget(self) -> None:
        """Drops what was not used for longest; two looks for each new target keep pace with what comes in."""
        for _ in range(2):
            if len(self._known) <= self._max_known:
                return
            key = next(iter(self._known))
            if self._known[key].in_flight:
                self._known.move_to_end(key)
            else:
                del self._known[key]


def _key(target: Target) -> tuple[str, str, str]:
    model = target.upstream_model
    # A simulator's script does not make another model.
    return target.provider, model.partition("?")[0] if "?" in model else model, target.region
