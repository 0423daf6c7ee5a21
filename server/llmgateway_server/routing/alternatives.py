"""What could be asked for instead of a model that cannot be called."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

from llmgateway_server.core.requests import Operation
from llmgateway_server.core.targets import Model, ModelStatus
from llmgateway_server.providers.profiles import likely_vendor, profile_of

MAX_ALTERNATIVES = 5
MAX_COMPARED_CHARS = 64
"""Names are compared up to here: a caller's may be long, and the comparison is quadratic."""


def alternatives(
    name: str, model: Model | None, operation: Operation | None, others: Iterable[Model]
) -> tuple[str, ...]:
    """Returns the names of models to ask for instead of `name`, at most five.

    Those of the same vendor come first, then those that can what the wanted one can, then the rest; within each group
    the names most like the wanted one.

    Args:
        name: what was asked for.
        model: what it stands for; None when it stands for nothing, and its vendor is guessed from the name.
        operation: what was to be done; None for whatever the model does.
        others: the models that the caller may use; only those that are ready and suit the operation are named.
    """
    if model is not None:
        vendors = {target.vendor for target in model.targets}
        capabilities = model.capabilities
    else:
        vendors = {likely_vendor(name)}
        capabilities = frozenset().union(*(profile_of(vendor, _bare(name)).capabilities for vendor in vendors))
    operations = frozenset({operation}) if operation else model.operations if model else frozenset()
    matcher = SequenceMatcher(b=_bare(name)[:MAX_COMPARED_CHARS], autojunk=False)

    def rank(other: Model) -> tuple[int, float, str]:
        matcher.set_seq1(_bare(other.name)[:MAX_COMPARED_CHARS])
        if any(target.vendor in vendors for target in other.targets):
            group = 0
        else:
            group = 1 if capabilities and capabilities <= other.capabilities else 2
        return group, -matcher.ratio(), other.name

    suitable = (
        other
        for other in others
        if other.status is ModelStatus.READY
        and other.name != (model.name if model else name)
        and operations <= other.operations
    )
    return tuple(other.name for other in sorted(suitable, key=rank)[:MAX_ALTERNATIVES])


def _bare(name: str) -> str:
    """Returns a name without the provider before it."""
    return name.rpartition("/")[2]
