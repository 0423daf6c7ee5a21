"""The clients of operators: everything that callers have, and `llmgateway.admin.v1`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmgateway.admin.v1 import metrics_pb2, provider_test_pb2
from llmgateway.admin.v1.admin_service_pb2_grpc import AdminServiceStub
from llmgateway.async_client import AsyncClient
from llmgateway.client import Client

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

    @property
    def _admin_stub(self) -> AdminServiceAsyncStub:
        return AdminServiceStub(self._opened_channel())
