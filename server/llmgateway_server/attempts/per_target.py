"""Something kept for each target, in bounded number: callers can pin upstream models, so there must be a bound."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Generic, NamedTuple, Protocol, TypeVar

from llmgateway_server.core.targets import Target

MAX_KEPT = 1024
LOOKS = 16
"""How many of the longest unused are looked at for one that may be forgotten; so a new target costs constant time."""


class TargetKey(NamedTuple):
    """What counts as one target: the same model of the same account in the same region."""

    provider: str
    region: str
    model: str
    """The upstream model without a simulator's script, which does not make another model."""


class Kept(Protocol):
    """What is kept for a target."""

    @property
    def in_use(self) -> bool:
        """Whether an attempt holds it; it is then not forgotten."""
        ...

    @property
    def blank(self) -> bool:
        """Whether it is as good as new, so that nothing is lost with it."""
        ...


T = TypeVar("T", bound=Kept)


def key_of(target: Target) -> TargetKey:
    """Returns the key of a target."""
    model = target.upstream_model
    return TargetKey(target.provider, target.region, model.partition("?")[0] if "?" in model else model)


class PerTarget(Generic[T]):
    """Keeps a `T` for each target that was used lately.

    Where there is no room, the longest unused blank one is forgotten, else the longest unused one that nobody holds.
    Where all that are looked at are held, the new one is not kept: its target is then without a memory for one attempt.

    Args:
        make: returns a new one.
        max_kept: most that are kept.
    """

    def __init__(self, make: Callable[[TargetKey], T], max_kept: int = MAX_KEPT) -> None:
        self._make = make
        self._max_kept = max_kept
        self._kept: OrderedDict[tuple[str, str, str], T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[tuple[TargetKey, T]]:
        return ((TargetKey(*key), each) for key, each in self._kept.items())

    def of(self, target: Target) -> T:
        """Returns that of a target, a new one for a new target."""
        key = target.provider, target.region, target.upstream_model  # equals a key that has no script, and costs less
        kept = self._kept.get(key)
        if kept is None:
            key = key_of(target)
            kept = self._kept.get(key)
        if kept is None:
            return self._new(key_of(target))
        self._kept.move_to_end(key)
        return kept

    def known(self, target: Target) -> T | None:
        """Returns that of a target if there is one; asking is no use of it."""
        kept = self._kept.get((target.provider, target.region, target.upstream_model))  # as in `of`
        return self._kept.get(key_of(target)) if kept is None else kept

    def _new(self, key: TargetKey) -> T:
        made = self._make(key)
        if len(self._kept) < self._max_kept or self._forget_one():
            self._kept[key] = made
        return made

    def _forget_one(self) -> bool:
        oldest = [(key, each) for key, each in islice(self._kept.items(), LOOKS) if not each.in_use]
        for key, each in oldest:
            if each.blank:
                del self._kept[key]
                return True
        if oldest:
            del self._kept[oldest[0][0]]
            return True
        for key in list(islice(self._kept, LOOKS)):  # the next look sees others
            self._kept.move_to_end(key)
        return False
