"""What a credential is made of, and what is said when that is not enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llmgateway_server.core.clock import Clock
from llmgateway_server.providers.credentials.endpoint import Endpoint
from llmgateway_server.providers.credentials.source import Issuer, ReadSecret, Renewed


class NotUsable(Exception):
    """A credential cannot be made of its settings.

    Args:
        field: at fault; empty for all of them together.
        text: what is wrong; never a value.
    """

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


@dataclass(slots=True, frozen=True)
class Setup:
    """Settings of one credential, defaults in place, and what it needs beside them."""

    texts: Mapping[str, str]
    """By the name of the field; empty where nothing was set."""
    secrets: Mapping[str, ReadSecret]
    """Those that were set."""
    region: str
    environment: Mapping[str, str]
    clock: Clock
    open: Callable[[str], Endpoint]
    """Returns the endpoint at an address; ValueError for one that cannot be asked."""
    provider: str
    key_id: str

    def endpoint(self, address: str, field: str = "url") -> Endpoint:
        """Returns the endpoint at an address.

        Args:
            address: with or without a slash at its end.
            field: that it comes from.

        Raises:
            NotUsable: it is no address.
        """
        try:
            return self.open(address)
        except ValueError:
            raise NotUsable(field, "must be an http or https address") from None

    def renewed(self, issuer: Issuer) -> Renewed:
        """Returns the source whose tokens an issuer gives."""
        return Renewed(issuer, self.clock, provider=self.provider, key_id=self.key_id)
