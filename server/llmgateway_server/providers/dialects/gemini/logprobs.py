"""Log probabilities of an answer's tokens. See `gemini`."""

from __future__ import annotations

from llmgateway_server.core.events import Logprob


def logprobs_of(result: dict[str, object]) -> tuple[Logprob, ...]:
    """Returns the tokens of `logprobsResult` with their alternatives; what cannot be read is passed over."""
    chosen, tops = _objects(result.get("chosenCandidates")), result.get("topCandidates")
    steps = tops if isinstance(tops, list) else []
    found: list[Logprob] = []
    for at, each in enumerate(chosen):
        step = steps[at] if at < len(steps) else None
        others = _objects(step.get("candidates")) if isinstance(step, dict) else []
        found.append(Logprob(*_token(each), tuple(_token(other) for other in others)))
    return tuple(found)


def _token(candidate: dict[str, object]) -> tuple[str, float, bytes]:
    """Returns a token, its log probability, which is left out where it is 0, and its UTF-8."""
    said, value = candidate.get("token"), candidate.get("logProbability")
    token = said if isinstance(said, str) else ""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
    return token, float(number), token.encode(errors="replace")


def _objects(value: object) -> list[dict[str, object]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
