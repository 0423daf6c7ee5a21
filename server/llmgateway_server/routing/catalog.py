"""The catalogue: which names stand for which targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches

from llmgateway_server.core.errors import RequestError, Violation
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import Operation
from llmgateway_server.core.targets import Model, ModelStatus, Target
from llmgateway_server.providers.provider import Provider

MAX_ALTERNATIVES = 5


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

    def resolve(self, name: str, operation: Operation) -> Model:
        """Returns what `name` stands for.

        The order is: empty (the default), public name, alias, `provider/model` where the first segment is a
        configured provider.

        Raises:
            RequestError: MODEL_NOT_FOUND with alternatives; MODEL_NOT_READY; UNSUPPORTED_OPTION when the model cannot
            do it.
        """
        wanted = name or self._default_models.get(operation, "")
        model = self._models.get(wanted) or self._aliases.get(wanted) or self._pinned(wanted)
        if model is None:
            raise RequestError(
                Reason.MODEL_NOT_FOUND, slots={"model": wanted}, alternatives=self.alternatives(wanted, operation)
            )
        if model.status is ModelStatus.NOT_READY:
            raise RequestError(
                Reason.MODEL_NOT_READY, slots={"model": model.name}, alternatives=self.alternatives(wanted, operation)
            )
        if operation not in model.operations:
            raise RequestError(
                Reason.UNSUPPORTED_OPTION,
                slots={"model": model.name, "operation": operation.value},
                violations=(Violation("model", f"this model cannot {operation.value.replace('_', ' ')}", "operation"),),
            )
        return model

    def describe(self, name: str) -> Model:
        """Returns the model of a name, ready or not.

        Raises:
            RequestError: MODEL_NOT_FOUND with alternatives.
        """
        model = self._models.get(name) or self._aliases.get(name) or self._pinned(name)
        if model is None:
            raise RequestError(
                Reason.MODEL_NOT_FOUND, slots={"model": name}, alternatives=self.alternatives(name, None)
            )
        return model

    def models(self) -> list[Model]:
        """Returns the public models by name."""
        return sorted(self._models.values(), key=lambda model: model.name)

    def alternatives(self, name: str, operation: Operation | None) -> tuple[str, ...]:
        """Returns ready models to ask for instead of `name`.

        Those of like name first, then the others, at most five.
        """
        ready = [
            model.name
            for model in self.models()
            if model.status is ModelStatus.READY
            and model.name != name
            and (operation is None or operation in model.operations)
        ]
        close = get_close_matches(name[:64], ready, n=MAX_ALTERNATIVES, cutoff=0.5)
        return tuple((close + [other for other in ready if other not in close])[:MAX_ALTERNATIVES])

    def _pinned(self, name: str) -> Model | None:
        """Reads `provider/model`; an upstream model that the catalogue does not know passes through to the provider."""
        provider_name, slash, upstream_model = name.partition("/")
        provider = self._providers.get(provider_name)
        if not slash or provider is None or not upstream_model:
            return None
        bare = upstream_model.partition("?")[0]  # a simulator's script does not make another model
        known = self._by_target.get((provider_name, bare))
        if known is not None:
            model, target = known
            pinned = replace(target, upstream_model=upstream_model)
            return replace(model, name=f"{provider_name}/{bare}", targets=(pinned,), aliases=())
        return Model(
            name=f"{provider_name}/{bare}",
            targets=(Target(provider=provider_name, vendor=provider.vendor, upstream_model=upstream_model),),
            operations=provider.operations,
        )
