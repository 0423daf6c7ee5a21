"""Resolves the model that the call names and checks that the caller may use it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from llmgateway_server.core.calls import Call, Notice, NoticeCode
from llmgateway_server.core.errors import AccessError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import OpenCall, Reply
from llmgateway_server.core.targets import ModelStatus
from llmgateway_server.routing.catalog import Catalog


class Authorize:
    """See the module.

    Args:
        catalog: resolves names; rights are checked on the resolved one, so that an alias opens nothing.
    """

    name = "authorize"
    why = "before anything is spent or told about the model"

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    @asynccontextmanager
    async def open(self, call: Call, following: OpenCall) -> AsyncIterator[Reply]:
        """See `CallStage.open`."""
        model = self._catalog.resolve(call.request.model, call.operation)
        if not call.principal.may_use(model.name):
            raise AccessError(Reason.MODEL_NOT_ALLOWED, slots={"model": model.name})
        call.resolved, call.model = model, model.name
        if model.status is ModelStatus.DEPRECATED:
            call.notices.append(Notice(NoticeCode.MODEL_DEPRECATED, model.name, f"{model.name} is deprecated"))
        async with following(call) as reply:
            yield reply
