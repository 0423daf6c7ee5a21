"""The port behind which every provider stands, whether it speaks HTTP or is the simulator."""

from __future__ import annotations

from typing import Protocol

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.reply import Opened
from llmgateway_server.core.requests import Operation
from llmgateway_server.core.targets import Model


class Provider(Protocol):
    """A configured upstream account."""

    name: str
    vendor: str
    region: str
    """Where its models run, where the account says so; otherwise empty."""
    operations: frozenset[Operation]
    """What it can be asked for at all."""

    def open(self, attempt: Attempt) -> Opened:
        """Opens the reply of one attempt.

        The reply starts with `Started` and ends with `Finished` after exactly the parts that the provider sent;
        `Finished.usage` is None, the last `UsageSnapshot` has the provider's figures. Leaving the context closes what
        belongs to the attempt at once.

        Raises:
            UpstreamError: the provider failed or refused; also from the reply, after what came before.
            RequestError: UNSUPPORTED_OPTION, before anything is sent.
        """
        ...

    def models(self) -> tuple[Model, ...]:
        """Returns the models that it brings into the catalogue by itself."""
        ...

    async def aclose(self) -> None:
        """Releases connections."""
        ...
