"""Switches targets off and on, in this process and in those that share its address."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from llmgateway_server.core.errors import AccessError, RequestError
from llmgateway_server.core.principal import Principal
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.targets import Target
from llmgateway_server.observe.events import Events, TargetEnabledChanged
from llmgateway_server.routing.catalog import Catalog
from llmgateway_server.routing.switches import WHOLE_PROVIDER, Switches

TellOthers = Callable[[str, str, bool], None]
"""Tells the other workers: account, upstream model or nothing, and whether it is on."""


@dataclass(slots=True, frozen=True)
class Switched:
    """What an operator has switched."""

    provider: str
    upstream_model: str
    """Empty: the whole account."""
    changed: bool
    models: tuple[str, ...]
    """Public names that can go there, sorted."""
    off: tuple[tuple[str, str], ...]
    """Everything that is off now; see `Switches.off`."""


class Switchboard:
    """See the module.

    Args:
        catalog: knows which targets there are.
        switches: of this process.
        providers: the configured accounts.
        events: is told of each change.
        tell_others: the other workers; by default there are none.
    """

    def __init__(
        self,
        catalog: Catalog,
        switches: Switches,
        providers: Collection[str],
        events: Events,
        tell_others: TellOthers = lambda *_: None,
    ) -> None:
        self._catalog = catalog
        self._switches = switches
        self._providers = providers
        self._events = events
        self._tell_others = tell_others

    def set_enabled(self, principal: Principal, provider: str, upstream_model: str, *, enabled: bool) -> Switched:
        """Switches a target, or all of an account where the model is empty. Running calls go on.

        Raises:
            RequestError: RESOURCE_NOT_FOUND, there is no such account, or the catalogue has no such target of it.
            AccessError: MODEL_NOT_ALLOWED, it would change a model that the operator may not use.
        """
        if provider not in self._providers:
            raise RequestError(Reason.RESOURCE_NOT_FOUND, slots={"resource": provider})
        bare = upstream_model.partition("?")[0]
        models = self._models(provider, bare)
        if bare and not models:
            raise RequestError(Reason.RESOURCE_NOT_FOUND, slots={"resource": f"{provider}/{bare}"})
        forbidden = next((name for name in models if not principal.may_use(name)), "")
        if not bare and not principal.may_use(f"{provider}/{_ANY}"):  # it also bars models that nobody has listed
            forbidden = forbidden or f"{provider}/{_ANY}"
        if forbidden:
            raise AccessError(Reason.MODEL_NOT_ALLOWED, slots={"model": forbidden})
        changed = self.turn(provider, bare, enabled=enabled)
        self._tell_others(provider, bare, enabled)
        return Switched(provider, bare, changed, models, tuple(self._switches.off()))

    def turn(self, provider: str, upstream_model: str, *, enabled: bool) -> bool:
        """Switches in this process alone, as another one was told to; tells whether that changed anything."""
        changed = self._switches.turn(provider, upstream_model or WHOLE_PROVIDER, on=enabled)
        if changed:
            self._events.tell(TargetEnabledChanged(provider, upstream_model, enabled))
        return changed

    def _models(self, provider: str, upstream_model: str) -> tuple[str, ...]:
        def meant(target: Target) -> bool:
            if target.provider != provider:
                return False
            return not upstream_model or target.upstream_model.partition("?")[0] == upstream_model

        return tuple(model.name for model in self._catalog.models() if any(map(meant, model.targets)))


_ANY = "*"
"""As a name it is matched by the patterns that match every model of an account, and by no name of one."""
