"""Resolves the model that the call names and checks that the caller may use it.

A model that its provider does not know is as good as none: the caller is told what else there is, and the operator that
the catalogue names it.
"""

from __future__ import annotations

from llmgateway_server.core.calls import Call, Notice, NoticeCode
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Around, OpenCall, Opened
from llmgateway_server.core.targets import Model, ModelStatus, Target
from llmgateway_server.observe.log import logger
from llmgateway_server.routing.alternatives import alternatives
from llmgateway_server.routing.catalog import Catalog


class Authorize:
    """See the module.

    Args:
        catalog: resolves names and checks the caller's rights to what they stand for.
    """

    name = "authorize"
    why = "before anything is spent or told about the model"

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._log = logger("pipeline")

    def open(self, call: Call, following: OpenCall) -> Opened:
        """See `CallStage.open`."""
        return _Authorized(call, following, self)

    def resolve(self, call: Call) -> None:
        """Puts the model that the call names into it.

        Raises:
            AccessError: MODEL_NOT_ALLOWED.
            RequestError: as `Catalog.resolve`.
        """
        model = self._catalog.resolve(call.request.model, call.operation, call.principal.may_use)
        call.resolved, call.model = model, model.name
        if model.status is ModelStatus.DEPRECATED:
            message = ": ".join(filter(None, (f"{model.name} is deprecated", model.status_reason)))
            call.notices.append(Notice(NoticeCode.MODEL_DEPRECATED, model.name, message))

    def ended(self, call: Call, error: BaseException | None) -> None:
        """Looks for models that their provider did not know."""
        if isinstance(error, UpstreamError) and error.reason is Reason.MODEL_NOT_FOUND and call.resolved is not None:
            error.alternatives = self._alternatives(call, call.resolved)
        for target in _unknown_targets(call):
            self._report(call, target)

    def _alternatives(self, call: Call, model: Model) -> tuple[str, ...]:
        """Returns what the caller may ask for instead: models that stand for anything but what is unknown."""
        unknown = {_place(target) for target in _unknown_targets(call)}
        others = (
            other
            for other in self._catalog.models()
            if call.principal.may_use(other.name) and not unknown.issuperset(map(_place, other.targets))
        )
        return alternatives(call.request.model, model, call.operation, others)

    def _report(self, call: Call, target: Target) -> None:
        """Alarms the operator about a model of the catalogue; one that a caller named by itself is none."""
        place = _place(target)
        if any(place == _place(known) for model in self._catalog.models() for known in model.targets):
            self._log.warning(
                "model of the catalogue is unknown to its provider",
                provider=target.provider,
                model=place[1],
                call_id=call.scope.call_id,
            )


class _Authorized(Around[Call]):
    __slots__ = ("_stage",)

    def __init__(self, call: Call, following: OpenCall, stage: Authorize) -> None:
        super().__init__(call, following)
        self._stage = stage

    def begin(self) -> None:
        self._stage.resolve(self.subject)

    def end(self, error: BaseException | None) -> None:
        self._stage.ended(self.subject, error)


def _unknown_targets(call: Call) -> list[Target]:
    return [record.target for record in call.attempts if record.reason is Reason.MODEL_NOT_FOUND]


def _place(target: Target) -> tuple[str, str]:
    return target.provider, target.upstream_model.partition("?")[0]
