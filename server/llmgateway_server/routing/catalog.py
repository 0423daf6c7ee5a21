"""The catalogue: which names stand for which targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

from llmgateway_server.core.errors import AccessError, RequestError, Violation
from llmgateway_server.core.principal import ANONYMOUS
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import Operation
from llmgateway_server.core.targets import Model, ModelStatus
from llmgateway_server.providers.models import model_of, target_of
from llmgateway_server.providers.provider import Provider
from llmgateway_server.routing.alternatives import alternatives

MAX_PINNED_NAMES = 1024
"""Pinned names whose model is remembered; callers choose them, so there must be a bound."""

MayUse = Callable[[str], bool]
"""Tells whether the caller may use the model of a public name."""
_EVERYBODY: MayUse = ANONYMOUS.may_use


class Catalog:
    """Resolves model names.

    Args:
        providers: configured accounts by name.
        models: public models; a later one with the same name replaces an earlier one.
        default_models: the name that an empty one stands for, per operation.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        models: Iterable[Model],
        default_models: Mapping[Operation, str],
    ) -> None:
        self._providers = providers
        self._models = {model.name: model for model in models}
        self._aliases = {alias: model for model in self._models.values() for alias in model.aliases}
        self._default_models = default_models
        self._by_target = {
            (target.provider, target.upstream_model): (model, target)
            for model in reversed(self._models.values())
            for target in reversed(model.targets)
        }
        self._pinned = lru_cache(MAX_PINNED_NAMES)(self._read_pinned)

    def resolve(self, name: str, operation: Operation, may_use: MayUse = _EVERYBODY) -> Model:
        """Returns what `name` stands for.

        The order is: empty (the default), public name, alias, `provider/model` where the first segment is a
        configured provider.

        Args:
            may_use: the caller's rights. They are checked on the resolved name, so that an alias opens nothing, and
                before anything is told about the model.

        Raises:
            AccessError: MODEL_NOT_ALLOWED.
            RequestError: MODEL_NOT_FOUND and MODEL_NOT_READY with alternatives; UNSUPPORTED_OPTION when the model
                cannot do it.
        """
        wanted = name or self._default_models.get(operation, "")
        model = self._permitted(wanted, operation, may_use)
        if model.status is ModelStatus.NOT_READY:
            raise RequestError(
                Reason.MODEL_NOT_READY,
                slots={"model": model.name, "statusReason": model.status_reason},
                alternatives=self._alternatives(wanted, model, operation, may_use),
            )
        if operation not in model.operations:
            raise RequestError(
                Reason.UNSUPPORTED_OPTION,
                slots={"model": model.name, "operation": operation.value},
                violations=(Violation("model", f"this model cannot {operation.value.replace('_', ' ')}", "operation"),),
            )
        return model

    def describe(self, name: str, may_use: MayUse = _EVERYBODY) -> Model:
        """Returns the model of a name, ready or not.

        Raises:
            AccessError: MODEL_NOT_ALLOWED.
            RequestError: MODEL_NOT_FOUND with alternatives.
        """
        return self._permitted(name, None, may_use)

    def models(self) -> list[Model]:
        """Returns the public models by name."""
        return sorted(self._models.values(), key=lambda model: model.name)

    def _permitted(self, name: str, operation: Operation | None, may_use: MayUse) -> Model:
        model = self._models.get(name) or self._aliases.get(name) or self._pinned(name)
        if model is None:
            raise RequestError(
                Reason.MODEL_NOT_FOUND,
                slots={"model": name},
                alternatives=self._alternatives(name, None, operation, may_use),
            )
        if not may_use(model.name):
            raise AccessError(Reason.MODEL_NOT_ALLOWED, slots={"model": model.name})
        return model

    def _alternatives(
        self, name: str, model: Model | None, operation: Operation | None, may_use: MayUse
    ) -> tuple[str, ...]:
        return alternatives(name, model, operation, (other for other in self.models() if may_use(other.name)))

    def _read_pinned(self, name: str) -> Model | None:
        """Reads `provider/model`; an upstream model that the catalogue does not know passes through to the provider."""
        provider_name, slash, upstream_model = name.partition("/")
        provider = self._providers.get(provider_name)
        if not slash or provider is None or not upstream_model:
            return None
        bare = upstream_model.partition("?")[0]  # a simulator's script does not make another model
        public_name = f"{provider_name}/{bare}"
        known = self._by_target.get((provider_name, bare))
        if known is not None:
            model, target = known
            pinned = replace(target, upstream_model=upstream_model)
            return replace(model, name=public_name, targets=(pinned,), aliases=())
        target = target_of(provider_name, provider.vendor, bare, provider.region)
        target = replace(target, upstream_model=upstream_model)
        return model_of(public_name, (target,), provider.operations)
