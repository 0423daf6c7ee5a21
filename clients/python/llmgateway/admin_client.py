"""The clients of operators: everything that callers have, and `llmgateway.admin.v1`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from llmgateway.admin.v1 import (
    circuit_breaker_pb2,
    event_pb2,
    metrics_pb2,
    provider_test_pb2,
    route_pb2,
    target_pb2,
)
from llmgateway.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from llmgateway.async_client import AsyncClient
from llmgateway.async_stream import translated_async
from llmgateway.client import Client
from llmgateway.messages import MessagesLike
from llmgateway.requests import CompleteOptions, complete_request
from llmgateway.status import translated
from llmgateway.v1 import completion_pb2, embedding_pb2
from llmgateway.watch import AsyncEventWatch, EventWatch

if TYPE_CHECKING:
    from llmgateway.admin.v1.admin_service_pb2_grpc import AdminServiceAsyncStub

TEST_S = 150.0
"""Seconds for the test of a provider, unless it says otherwise: it makes two calls of a minute at most."""


class AdminClient(Client):
    """A `Client` whose key has the role operator or admin."""

    def reset_metrics(self, *, timeout: float | None = None) -> metrics_pb2.ResetMetricsResponse:
        """Forgets the figures that `metrics` and `health` answer with; counters for Prometheus go on."""
        return self._unary(self._admin_stub.ResetMetrics, metrics_pb2.ResetMetricsRequest(), timeout)

    def test_provider(
        self, provider: str, *, model: str = "", timeout: float | None = None
    ) -> provider_test_pb2.TestProviderResponse:
        """Asks a provider for two tiny answers and says what is wrong, if anything is; that is no error.

        Args:
            provider: a configured one.
            model: the provider's own name of one. Empty: the cheapest of the catalogue.
            timeout: seconds. None: 150.
        """
        wanted = provider_test_pb2.TestProviderRequest(provider=provider, model=model)
        return self._unary(self._admin_stub.TestProvider, wanted, TEST_S if timeout is None else timeout)

    def explain_route(
        self,
        model: str = "",
        messages: MessagesLike = (),
        *,
        request: completion_pb2.CompleteRequest | embedding_pb2.EmbedRequest | None = None,
        timeout: float | None = None,
        **options: Unpack[CompleteOptions],
    ) -> route_pb2.ExplainRouteResponse:
        """Says where a call would go now and why, without making it. That it would be refused is no error.

        Args:
            model: public name or pinned `provider/model`. Empty: the gateway's default.
            messages: a text, or messages as `llmgateway.messages` takes them.
            request: a whole request, of a completion or for embeddings, instead of everything else.
            timeout: seconds. None: the client's.
            options: as `CompleteOptions`.
        """
        wanted = _explained(model, messages, request, options)
        return self._unary(self._admin_stub.ExplainRoute, wanted, timeout)

    def circuit_breakers(
        self, provider: str = "", *, upstream_model: str = "", timeout: float | None = None
    ) -> circuit_breaker_pb2.GetCircuitBreakerResponse:
        """Says how the circuit breakers of one of the gateway's workers are.

        Args:
            provider: only this provider's. Empty: all.
            upstream_model: only this model's, by the provider's own name. Empty: all.
            timeout: seconds. None: the client's.
        """
        wanted = circuit_breaker_pb2.GetCircuitBreakerRequest(provider=provider, upstream_model=upstream_model)
        return self._unary(self._admin_stub.GetCircuitBreaker, wanted, timeout)

    def set_target_enabled(
        self, provider: str, upstream_model: str = "", *, enabled: bool, timeout: float | None = None
    ) -> target_pb2.SetTargetEnabledResponse:
        """Switches a target off or on again; running calls go on.

        Args:
            provider: a configured one.
            upstream_model: the provider's own name of a model of the catalogue. Empty: the whole provider.
            enabled: whether calls may go there.
            timeout: seconds. None: the client's.
        """
        wanted = target_pb2.SetTargetEnabledRequest(provider=provider, upstream_model=upstream_model, enabled=enabled)
        return self._unary(self._admin_stub.SetTargetEnabled, wanted, timeout)

    def watch_events(self, *, timeout: float | None = None) -> EventWatch:
        """Watches what happens in one of the gateway's workers.

        Args:
            timeout: seconds for the whole watch. None: it has no end from this side.
        """
        with translated():
            return EventWatch(
                self._admin_stub.WatchEvents(event_pb2.WatchEventsRequest(), timeout=timeout, metadata=self._metadata)
            )

    @property
    def _admin_stub(self) -> AdminServiceStub:
        return AdminServiceStub(self._opened_channel())


class AsyncAdminClient(AsyncClient):
    """An `AsyncClient` whose key has the role operator or admin."""

    async def reset_metrics(self, *, timeout: float | None = None) -> metrics_pb2.ResetMetricsResponse:
        """Forgets the figures that `metrics` and `health` answer with; counters for Prometheus go on."""
        return await self._unary(self._admin_stub.ResetMetrics, metrics_pb2.ResetMetricsRequest(), timeout)

    async def test_provider(
        self, provider: str, *, model: str = "", timeout: float | None = None
    ) -> provider_test_pb2.TestProviderResponse:
        """Asks a provider for two tiny answers and says what is wrong, if anything is; that is no error.

        Args:
            provider: a configured one.
            model: the provider's own name of one. Empty: the cheapest of the catalogue.
            timeout: seconds. None: 150.
        """
        wanted = provider_test_pb2.TestProviderRequest(provider=provider, model=model)
        return await self._unary(self._admin_stub.TestProvider, wanted, TEST_S if timeout is None else timeout)

    async def explain_route(
        self,
        model: str = "",
        messages: MessagesLike = (),
        *,
        request: completion_pb2.CompleteRequest | embedding_pb2.EmbedRequest | None = None,
        timeout: float | None = None,
        **options: Unpack[CompleteOptions],
    ) -> route_pb2.ExplainRouteResponse:
        """Says where a call would go now and why, without making it. That it would be refused is no error.

        Args:
            model: public name or pinned `provider/model`. Empty: the gateway's default.
            messages: a text, or messages as `llmgateway.messages` takes them.
            request: a whole request, of a completion or for embeddings, instead of everything else.
            timeout: seconds. None: the client's.
            options: as `CompleteOptions`.
        """
        wanted = _explained(model, messages, request, options)
        return await self._unary(self._admin_stub.ExplainRoute, wanted, timeout)

    async def circuit_breakers(
        self, provider: str = "", *, upstream_model: str = "", timeout: float | None = None
    ) -> circuit_breaker_pb2.GetCircuitBreakerResponse:
        """Says how the circuit breakers of one of the gateway's workers are.

        Args:
            provider: only this provider's. Empty: all.
            upstream_model: only this model's, by the provider's own name. Empty: all.
            timeout: seconds. None: the client's.
        """
        wanted = circuit_breaker_pb2.GetCircuitBreakerRequest(provider=provider, upstream_model=upstream_model)
        return await self._unary(self._admin_stub.GetCircuitBreaker, wanted, timeout)

    async def set_target_enabled(
        self, provider: str, upstream_model: str = "", *, enabled: bool, timeout: float | None = None
    ) -> target_pb2.SetTargetEnabledResponse:
        """Switches a target off or on again; running calls go on.

        Args:
            provider: a configured one.
            upstream_model: the provider's own name of a model of the catalogue. Empty: the whole provider.
            enabled: whether calls may go there.
            timeout: seconds. None: the client's.
        """
        wanted = target_pb2.SetTargetEnabledRequest(provider=provider, upstream_model=upstream_model, enabled=enabled)
        return await self._unary(self._admin_stub.SetTargetEnabled, wanted, timeout)

    def watch_events(self, *, timeout: float | None = None) -> AsyncEventWatch:
        """Watches what happens in one of the gateway's workers.

        Args:
            timeout: seconds for the whole watch. None: it has no end from this side.
        """
        with translated_async():
            return AsyncEventWatch(
                self._admin_stub.WatchEvents(event_pb2.WatchEventsRequest(), timeout=timeout, metadata=self._metadata)
            )

    @property
    def _admin_stub(self) -> AdminServiceAsyncStub:
        return AdminServiceStub(self._opened_channel())


def _explained(
    model: str,
    messages: MessagesLike,
    request: completion_pb2.CompleteRequest | embedding_pb2.EmbedRequest | None,
    options: CompleteOptions,
) -> route_pb2.ExplainRouteRequest:
    """Builds the request of ExplainRoute; errors as in `complete_request`."""
    if isinstance(request, embedding_pb2.EmbedRequest):
        if model or options or messages != ():
            raise ValueError("a whole request is sent as it is: put everything into it")
        return route_pb2.ExplainRouteRequest(embed=request)
    return route_pb2.ExplainRouteRequest(complete=complete_request(model, messages, request=request, options=options))
