"""Calls that begin alike go to the same target, whose vendor then finds the prompt in its cache.

The target is found by weighted rendezvous hashing, so that every process finds the same one without telling the
others, and a target that comes or goes moves its own conversations alone:

    u     = 64 mixed bits of (key, target) as a number in (0, 1]
    score = −ln(u) ÷ weight                                               the least one keeps the conversation

It follows health and load: one whose health is below 0.5, or that has more in flight than its bound, is passed over.

    bound = max(8, ⌈1.25 · (in flight of all + 1) · weight ÷ sum of weights⌉)

Source: Thaler and Ravishankar, Using name-based mappings to increase hit rates, IEEE/ACM ToN 6(1), 1998; Mirrokni,
Thorup and Zadimoghaddam, Consistent hashing with bounded loads, SODA 2018.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from math import ceil, log

from llmgateway_server.core.messages import TextPart
from llmgateway_server.core.requests import CompleteRequest
from llmgateway_server.routing.strategies.contenders import Contender

LEAST_HEALTH = 0.5
LOAD_FACTOR = 1.25
ALWAYS_IN_FLIGHT = 8
"""Calls in flight that are no load yet, however idle the others are."""
PREFIX_CHARS = 4096
"""About 1,024 tokens, the shortest prompt that OpenAI and most models of Anthropic cache.

Source: https://platform.openai.com/docs/guides/prompt-caching,
https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching.
"""

_MASK = (1 << 64) - 1
_STEPS = 1 << 53


def affinity_key(session: str, request: CompleteRequest) -> str:
    """Returns by what the call keeps its target: the caller's own key, else the first 4,096 characters of the prompt.

    A prompt that is shorter has no key: no vendor would cache it. Parts that are not text end the prefix.

    Args:
        session: the caller's key; may be empty.
        request: whose messages are looked at; nothing but a digest of them stays.
    """
    if session:
        return f"session:{session}"
    digest = blake2b(digest_size=8)
    left = PREFIX_CHARS
    for role, text in _texts(request):
        digest.update(f"{role}\0".encode())
        digest.update(text[:left].encode("utf-8", "surrogatepass"))
        left -= len(text)
        if left <= 0:
            return f"prefix:{digest.hexdigest()}"
    return ""


def keeper(key: str, contenders: Sequence[Contender], now_s: float) -> int | None:
    """Returns which one keeps the conversation, as its place in the list; None when all are unhealthy or loaded.

    Args:
        key: of the conversation.
        contenders: any order; the order does not matter.
        now_s: on the monotonic clock.
    """
    draws = _draws(key, contenders)
    load = sum(each.standing.in_flight for each in contenders) + 1
    room = LOAD_FACTOR * load / sum(each.target.weight for each in contenders)
    first = draws.index(min(draws))
    if _fits(contenders[first], room, now_s):
        return first
    for at in sorted(range(len(contenders)), key=draws.__getitem__)[1:]:
        if _fits(contenders[at], room, now_s):
            return at
    return None


def _fits(contender: Contender, room: float, now_s: float) -> bool:
    """Tells whether one is healthy and has not too much in flight; `room` is the bound for a weight of 1."""
    standing = contender.standing
    bound = max(ALWAYS_IN_FLIGHT, ceil(room * contender.target.weight))
    return standing.in_flight < bound and standing.health(now_s) >= LEAST_HEALTH


def _texts(request: CompleteRequest) -> Iterator[tuple[str, str]]:
    for message in request.messages:
        for part in message.parts:
            if not isinstance(part.content, TextPart):
                return
            yield message.role, part.content.text


def _draws(key: str, contenders: Sequence[Contender]) -> list[float]:
    """Returns the draw of each, see the module.

    Source of the mixing: the finaliser of SplitMix64; Steele, Lea and Flood, Fast splittable pseudorandom number
    generators, OOPSLA 2014.
    """
    mixed = int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
    draws = []
    for each in contenders:  # in one piece, because a function call a target would double its cost
        bits = mixed ^ each.seed
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
        share = (((bits ^ (bits >> 31)) >> 11) + 1) / _STEPS
        draws.append(-log(share) / each.target.weight)
    return draws
