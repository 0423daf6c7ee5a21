"""Puts contenders in order by a row of the table.

Groups come first: providers that the call prefers, in its order; then, for strategies that look at tiers, targets of a
tier that suits the request before those below it. Inside a group the score decides, then the row's rule for ties. At
last one target may be moved to the head of the first group: the one that keeps a conversation, or the better one of two
drawn at random.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite

from llmgateway_server.routing.affinity import keeper
from llmgateway_server.routing.strategies.contenders import TIER_RANKS, Contender, Ranked, Scores, Wish, Words
from llmgateway_server.routing.strategies.names import Strategy
from llmgateway_server.routing.strategies.table import STRATEGIES, Affinity, Row, Ties

PREFERRED = Words.always("preferred by the request")
KEPT = Words.always("keeps the conversation")
ONLY = Words.always("only target")
BELOW_TIER = Words.always("below the tier that suits the request")


def order(strategy: Strategy, contenders: Sequence[Contender], wish: Wish) -> list[Ranked]:
    """Orders the contenders of a call; all of them are in the result, each once.

    Args:
        strategy: a row of `STRATEGIES`.
        contenders: in the configured order; eligible all of them.
        wish: what the call wishes.
    """
    row = STRATEGIES[strategy]
    if not contenders:
        return []
    if len(contenders) == 1:
        (contender,) = contenders
        preferred = contender.target.provider in wish.preferred_providers
        words = PREFERRED if preferred else row.words if strategy is Strategy.PRIORITY else ONLY
        return [Ranked(contender, 0.0, words, True)]
    if strategy is Strategy.PRIORITY and not wish.preferred_providers:
        return _by_priority(contenders, row.words)
    ranked: list[Ranked] = []
    for group, words in _groups(row, contenders, wish):
        ranked += _ranked(row, group, wish, words, first=not ranked)
    return ranked


def _by_priority(contenders: Sequence[Contender], words: Words) -> list[Ranked]:
    ranked = [Ranked(each, each.target.priority, words, False) for each in contenders]
    ranked.sort(key=_score)
    return ranked


def _score(ranked: Ranked) -> float:
    return ranked.score


def _groups(row: Row, contenders: Sequence[Contender], wish: Wish) -> Iterator[tuple[Sequence[Contender], Words]]:
    """Yields the groups in order, each with what is said of its members."""
    preferred = {provider: at for at, provider in reversed(list(enumerate(wish.preferred_providers)))}
    least_rank = TIER_RANKS.get(wish.tier, 0) if row.tiered else 0
    if not preferred and not least_rank:
        yield contenders, row.words
        return
    elsewhere = len(wish.preferred_providers)
    groups: dict[tuple[int, bool], list[Contender]] = {}
    for each in contenders:
        place = preferred.get(each.target.provider, elsewhere)
        groups.setdefault((place, each.tier_rank < least_rank), []).append(each)
    for (place, below), group in sorted(groups.items(), key=_place):
        yield group, PREFERRED if place < elsewhere else BELOW_TIER if below else row.words


def _place(group: tuple[tuple[int, bool], list[Contender]]) -> tuple[int, bool]:
    return group[0]


def _ranked(row: Row, group: Sequence[Contender], wish: Wish, words: Words, *, first: bool) -> list[Ranked]:
    scores = row.score(group, wish)
    places = sorted(range(len(group)), key=scores.__getitem__)
    if row.ties is not Ties.CONFIGURED and len(set(scores)) < len(scores):
        _settle(places, scores, row.ties, group, wish)
    head = words
    if first and len(group) > 1:
        if wish.affinity_key and row.affinity is not Affinity.NOBODY:
            near = _near(places, scores, row.reach(wish.affinity_slack))
            kept = keeper(wish.affinity_key, [group[at] for at in near], wish.now_s)
            if kept is not None:
                _move(places, near[kept])
                head = KEPT
        if row.near and head is not KEPT:
            _move(places, _better_of_two(_near(places, scores, row.near), wish))
    leader = places[0]
    return [
        Ranked(group[leader], scores[leader], head, first),
        *[Ranked(group[at], scores[at], words, False) for at in places[1:]],
    ]


def _settle(places: list[int], scores: Scores, ties: Ties, group: Sequence[Contender], wish: Wish) -> None:
    """Reorders each run of equal scores by the rule for ties."""
    start = 0
    for end in range(1, len(places) + 1):
        if end < len(places) and scores[places[end]] == scores[places[start]]:
            continue
        if end - start > 1:
            run = places[start:end]
            wish.rng.shuffle(run)
            if ties is Ties.LEAST_RECENT:
                run.sort(key=lambda at: group[at].standing.last_used)
            places[start:end] = run
        start = end


def _near(places: list[int], scores: Scores, times: float) -> list[int]:
    """Returns those, best first, whose score is at most `times` the best one; all where that is infinite."""
    limit = scores[places[0]] * times if isfinite(times) else times
    return [at for at in places if scores[at] <= limit]


def _better_of_two(near: list[int], wish: Wish) -> int:
    """Returns the better one of two different ones drawn at random from those given best first."""
    if len(near) < 3:
        return near[0]
    one = int(wish.rng.random() * len(near))
    other = int(wish.rng.random() * (len(near) - 1))
    return near[min(one, other if other < one else other + 1)]


def _move(places: list[int], at: int) -> None:
    """Moves one to the head."""
    if places[0] != at:
        places.remove(at)
        places.insert(0, at)
