"""What the simulator shall do, written as a query behind the model's name.

`simulator/chat?tokens=40&first_token_ms=200&fault=cut&at=10` answers with 40 tokens, the first after 0.2 s, and drops
the stream after the tenth. The same script always plays the same. The full table of options stands in
`docs/simulator.md`; a test holds both equal.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from urllib.parse import parse_qsl

from llmgateway_server.core.errors import RequestError, Violation
from llmgateway_server.core.reasons import Reason

FAULTS: dict[str, str] = {
    "refuse": "the connection is refused: UPSTREAM_UNREACHABLE",
    "tls": "the TLS handshake fails: UPSTREAM_TLS",
    "reset": "the connection is reset before an answer: UPSTREAM_RESET",
    "http": "an HTTP error with the status `status`",
    "hang": "no answer, ever; the first-token timeout ends it",
    "empty": "an answer without content or finish reason: UPSTREAM_MALFORMED",
    "malformed": "an unreadable event after `at` tokens",
    "cut": "the connection ends after `at` tokens",
    "no_end": "the body ends cleanly after all tokens, but without the last event",
    "stall": "silence after `at` tokens; the idle timeout ends it",
    "ping": "only signs of life after `at` tokens; the progress timeout ends it",
    "error": "an error inside the stream after `at` tokens, of the class of `status`",
    "content_filter": "the vendor's filter ends the answer after `at` tokens",
    "refusal": "the model declines",
}
"""What can go wrong, by name."""


@dataclass(slots=True, frozen=True)
class Script:
    """The options; each field is one."""

    tokens: int | None = None
    """Output tokens, 0–100,000, made of a fixed vocabulary. Default.

    An answer that repeats the question's last words.
    """
    first_token_ms: int = 0
    """Time to the first token, 0–600,000."""
    pace_ms: int = 0
    """Time between tokens, 0–60,000. 0: everything after the first token at once."""
    reasoning: int = 0
    """Reasoning tokens before the answer, 0–100,000."""
    tools: int = 0
    """Tool calls after the text, 0–64; they call the offered tools in turn, or `lookup` where none is offered."""
    usage: str = "reported"
    """`reported`, or `none` for a provider that tells no figures."""
    fault: str = ""
    """What goes wrong: a name of `FAULTS`."""
    at: int = 1
    """After how many tokens it goes wrong, 0–100,000."""
    status: int = 500
    """HTTP status of the faults `http` and `error`, 300–599."""
    retry_after_ms: int = 0
    """The wish for a pause that comes with an HTTP error."""
    text: str = ""
    """The answer, word for word."""


BOUNDS: dict[str, tuple[int, int]] = {
    "tokens": (0, 100_000),
    "first_token_ms": (0, 600_000),
    "pace_ms": (0, 60_000),
    "reasoning": (0, 100_000),
    "tools": (0, 64),
    "at": (0, 100_000),
    "status": (300, 599),
    "retry_after_ms": (0, 3_600_000),
}
CHOICES: dict[str, tuple[str, ...]] = {"usage": ("reported", "none"), "fault": tuple(FAULTS)}


def parse(upstream_model: str) -> Script:
    """Reads the script behind `?` in a model's name; without one everything has its default.

    Raises:
        RequestError: INVALID_REQUEST with every bad option.
    """
    _, _, query = upstream_model.partition("?")
    known = {field.name for field in fields(Script)}
    options: dict[str, int | str] = {}
    violations = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        bounds = BOUNDS.get(name)
        if name not in known:
            violations.append(_bad(f"no such option: choose from {', '.join(sorted(known))}"))
        elif bounds is not None:
            if not (value.isdecimal() and len(value) < 10 and bounds[0] <= int(value) <= bounds[1]):
                violations.append(_bad(f"{name} must be a whole number from {bounds[0]} to {bounds[1]}"))
                continue
            options[name] = int(value)
        elif name in CHOICES and value not in CHOICES[name]:
            violations.append(_bad(f"{name} must be one of {', '.join(CHOICES[name])}"))
        else:
            options[name] = value
    if violations:
        raise RequestError(Reason.INVALID_REQUEST, violations=tuple(violations))
    return Script(**options)  # type: ignore[arg-type]  # names and kinds were checked against the fields above


def _bad(description: str) -> Violation:
    return Violation("model", description, "simulator.script")
