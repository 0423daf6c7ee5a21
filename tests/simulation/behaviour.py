"""What a made-up provider does with one call: data, drawn from a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from random import Random

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason


class Ending(Enum):
    """What comes after the last chunk."""

    FINISH = "finish"
    EOF = "eof"
    """Nothing: the reply ends without its last event."""
    SILENCE = "silence"
    PINGS = "pings"
    """Reads without content, for ever."""
    BABBLE = "babble"
    """More and more text, for ever."""
    FAULT = "fault"
    DEFECT = "defect"
    """An exception that is none of ours."""


@dataclass(slots=True, frozen=True)
class Fault:
    """An error of a provider."""

    reason: Reason
    status: int | None = None
    retry_after_s: float | None = None

    def error(self) -> UpstreamError:
        return UpstreamError(self.reason, http_status=self.status, retry_after_s=self.retry_after_s)


@dataclass(slots=True, frozen=True)
class Behaviour:
    """See the module. Seconds are virtual."""

    open_s: float
    """Until the reply is open; infinite: never."""
    first_s: float
    """From there to the first chunk, or to the ending where there is none."""
    gaps_s: tuple[float, ...]
    """Before each chunk after the first; there is one chunk more than gaps where `chunks` is true."""
    chunks: bool
    ending: Ending
    fault: Fault | None = None


NEUTRAL_FAULTS = (
    Fault(Reason.UPSTREAM_REJECTED_REQUEST, 400),
    Fault(Reason.UPSTREAM_REJECTED_REQUEST, 422),
    Fault(Reason.CONTEXT_LENGTH_EXCEEDED, 400),
    Fault(Reason.CONTENT_POLICY, 400),
    Fault(Reason.PROVIDER_AUTH_FAILED, 401),
    Fault(Reason.PROVIDER_AUTH_FAILED, 403),
    Fault(Reason.PROVIDER_QUOTA_EXHAUSTED, 402),
    Fault(Reason.PROVIDER_QUOTA_EXHAUSTED, 429),
    Fault(Reason.MODEL_NOT_FOUND, 404),
    Fault(Reason.UPSTREAM_CONFLICT, 409),
    Fault(Reason.REQUEST_TOO_LARGE, 413),
    Fault(Reason.UPSTREAM_UNCLASSIFIED, 405),
)
"""Those that say nothing bad of their target (RELIABILITY §5)."""
LIMITS = tuple(
    Fault(Reason.UPSTREAM_RATE_LIMITED, 429, retry_after_s)
    for retry_after_s in (None, 0.0, 0.2, 2.0, 4.9, 5.1, 60.0, -3.0, math.nan, 1e9)
)
FAILURES = (
    Fault(Reason.UPSTREAM_ERROR, 500),
    Fault(Reason.UPSTREAM_ERROR, 502),
    Fault(Reason.UPSTREAM_OVERLOADED, 503),
    Fault(Reason.UPSTREAM_OVERLOADED, 503, 1.5),
    Fault(Reason.UPSTREAM_OVERLOADED, 529),
    Fault(Reason.UPSTREAM_TIMEOUT, 408),
    Fault(Reason.UPSTREAM_TIMEOUT, 504),
    Fault(Reason.UPSTREAM_UNREACHABLE),
    Fault(Reason.UPSTREAM_TLS),
    Fault(Reason.UPSTREAM_RESET),
    Fault(Reason.UPSTREAM_MALFORMED),
    Fault(Reason.UPSTREAM_REDIRECT, 302),
    Fault(Reason.UPSTREAM_UNCLASSIFIED, 599),
)
BREAKS = (
    Fault(Reason.UPSTREAM_RESET),
    Fault(Reason.UPSTREAM_STREAM_INTERRUPTED),
    Fault(Reason.UPSTREAM_MALFORMED),
    Fault(Reason.UPSTREAM_OVERLOADED, 529),
    Fault(Reason.UPSTREAM_ERROR, 500),
    Fault(Reason.UPSTREAM_RATE_LIMITED, 429, 1.0),
)
"""What ends a stream after its first chunk."""

PHASES: dict[str, dict[str, float]] = {
    "well": {"answer": 1},
    "shaky": {"answer": 5, "failure": 3, "break": 3, "eof": 1, "slow": 1, "neutral": 0.5, "limit": 0.5, "babble": 0.5},
    "down": {"failure": 10, "never": 2, "answer": 0.5},
    "hanging": {"never": 4, "silence": 3, "pings": 2, "slow": 3, "answer": 1},
    "limiting": {"limit": 5, "answer": 2, "neutral": 1},
    "odd": {"defect": 1, "neutral": 3, "eof": 1, "babble": 1, "answer": 4, "break": 2},
    "polite": {"answer": 4, "neutral": 3, "limit": 3},
}
"""How often a provider does what in a phase of its life, as weights.

The polite one answers within the least share of a call's time (`routing.shares`), so that it is never late.
"""


def draw(phase: str, rng: Random) -> Behaviour:
    """Returns what happens to the next call."""
    weights = PHASES[phase]
    kind = rng.choices(list(weights), list(weights.values()))[0]
    usual = Behaviour(
        open_s=rng.choice((0.0, rng.uniform(0.0, 0.3))),
        first_s=rng.choice((0.0, rng.uniform(0.0, 1.5))),
        gaps_s=tuple(rng.choice((0.0, rng.uniform(0.0, 0.4))) for _ in range(rng.randrange(8))),
        chunks=True,
        ending=Ending.FINISH,
    )
    if phase == "polite":
        gaps_s = tuple(gap_s / 10 for gap_s in usual.gaps_s)
        usual = replace(usual, open_s=usual.open_s / 3, first_s=usual.first_s / 5, gaps_s=gaps_s)
    if kind in ("failure", "neutral", "limit"):
        faults = {"failure": FAILURES, "neutral": NEUTRAL_FAULTS, "limit": LIMITS}[kind]
        return replace(usual, chunks=False, gaps_s=(), ending=Ending.FAULT, fault=rng.choice(faults))
    if kind == "break":
        return replace(usual, ending=Ending.FAULT, fault=rng.choice(BREAKS))
    if kind == "slow":
        return replace(usual, first_s=rng.uniform(2.0, 45.0))
    if kind == "never":
        return replace(usual, open_s=math.inf) if rng.random() < 0.5 else replace(usual, first_s=math.inf)
    if kind == "eof":
        return replace(usual, ending=Ending.EOF, chunks=rng.random() < 0.7)
    endings = {"silence": Ending.SILENCE, "pings": Ending.PINGS, "babble": Ending.BABBLE, "defect": Ending.DEFECT}
    return replace(usual, ending=endings.get(kind, Ending.FINISH))


def life(rng: Random, until_s: float) -> list[tuple[float, str]]:
    """Returns the phases of a provider's life, each with the time when it begins, from 0 to about `until_s`."""
    names = [name for name in PHASES if name != "polite"]
    weights = [rng.choice((0.0, 1.0, 3.0)) for _ in names]
    weights[0] = max(1.0, weights[0])
    phases, at_s = [], 0.0
    while at_s < until_s:
        phases.append((at_s, rng.choices(names, weights)[0]))
        at_s += rng.uniform(1.0, rng.choice((5.0, 60.0)))  # flapping, or for a while
    return phases
