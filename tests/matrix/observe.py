"""What becomes of a feature at a vendor: told by a whole call, through a real gateway, to a provider that checks it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import grpc
import grpc.aio

from llmgateway.v1 import reply_pb2
from llmgateway_server.testing.fake_provider import FakeProvider
from llmgateway_server.testing.gateway import RunningGateway
from tests.matrix.columns import Column
from tests.matrix.features import Feature, Request, Say, plain
from tests.recorded.outcome import failed_with

REFUSED = "UNSUPPORTED_OPTION"
NOT_SENT = (reply_pb2.NOTICE_CODE_OPTION_DROPPED, reply_pb2.NOTICE_CODE_PROVIDER_STATE_DROPPED)
OWN_FETCH = "EGRESS_REFUSED"
"""How a call ends whose media the gateway wanted to fetch itself, from this machine."""


class Cell(StrEnum):
    """What becomes of a feature."""

    NATIVE = "native"
    """The vendor is asked for it."""
    EMULATED = "emulated"
    """The caller gets the same, or nearly, by other means; a notice says what is not quite the same."""
    LEFT_OUT = "left out"
    """It changes the cost or the tone only: a notice says that it was not sent."""
    REFUSED = "refused"
    """UNSUPPORTED_OPTION names it, and nothing is sent."""


class Dropped(AssertionError):
    """A feature was dropped in silence."""


class Observer:
    """Makes the calls of one gateway.

    Args:
        gateway: with the models of `columns.settings`.
        fake: behind all of its accounts.
    """

    def __init__(self, gateway: RunningGateway, fake: FakeProvider) -> None:
        self._gateway = gateway
        self._fake = fake
        self._usual: dict[tuple[str, Say], Any] = {}

    async def cell(self, column: Column, feature: Feature) -> Cell:
        """Returns what becomes of a feature at a vendor.

        Raises:
            Dropped: nothing says that it is not sent, and it is not.
        """
        model = column.model(reasoning=feature.reasoning)
        usual = await self._without(model, feature)
        asked = len(self._fake.requests)
        try:
            reply = await self._gateway.stub.Complete(_said(model, feature.say))
        except grpc.aio.AioRpcError as error:
            return self._refused(error, asked)
        return self._sent(reply, usual, feature)

    async def _without(self, model: str, feature: Feature) -> Any:
        """Returns the body of a request without the feature; None where what stands beside it is refused already."""
        known = (model, feature.beside)
        if known not in self._usual:
            self._usual[known] = None
            try:
                await self._gateway.stub.Complete(_said(model, feature.beside))
                self._usual[known] = self._fake.requests[-1].body
            except grpc.aio.AioRpcError as error:
                if (reason := failed_with(error).reason) != REFUSED:
                    raise AssertionError(f"not answered even without it: {reason}, {error.details()}") from error
        return self._usual[known]

    def _refused(self, error: grpc.aio.AioRpcError, asked: int) -> Cell:
        outcome = failed_with(error)
        assert len(self._fake.requests) == asked, f"the provider refused what was sent: {error.details()}"
        if outcome.reason == OWN_FETCH:
            return Cell.EMULATED
        assert outcome.reason == REFUSED
        assert outcome.fields, "a refusal names what it refuses"
        return Cell.REFUSED

    def _sent(self, reply: reply_pb2.CompleteResponse, usual: Any, feature: Feature) -> Cell:
        body = self._fake.requests[-1].body
        noticed = any(notice.code in NOT_SENT for notice in reply.notices)
        if body == usual:
            if noticed:
                return Cell.LEFT_OUT
            if feature.means_nothing_more:
                return Cell.EMULATED
            raise Dropped(f"{feature.name}: not sent, and no notice says so")
        by_tool = feature.group == "Structured output" and _tools(body) and not _tools(usual)
        return Cell.EMULATED if noticed or by_tool else Cell.NATIVE


def _said(model: str, say: Say) -> Request:
    request = plain()
    request.model = model
    say(request)
    return request


def _tools(body: Any) -> Any:
    """Returns the tools of a body, wherever its format puts them."""
    return body.get("tools") or body.get("toolConfig")
