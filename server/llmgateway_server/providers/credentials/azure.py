"""Tokens of Entra for an application with a client secret.

Source: https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from llmgateway_server.providers.credentials.endpoint import Endpoint, access_token
from llmgateway_server.providers.credentials.setup import Setup
from llmgateway_server.providers.credentials.source import ReadSecret, Renewed, Token


@dataclass(slots=True, frozen=True)
class _Client:
    endpoint: Endpoint
    client_id: str
    client_secret: ReadSecret
    scope: str

    async def issue(self) -> Token:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret().reveal(),
            "scope": self.scope,
        }
        return access_token(await self.endpoint.ask_form(form))

    async def aclose(self) -> None:
        await self.endpoint.aclose()


def client(setup: Setup) -> Renewed:
    """Returns the tokens of an application.

    Raises:
        NotUsable: the address is none.
    """
    texts = setup.texts
    tenant = quote(texts["tenant_id"], safe="")
    endpoint = setup.endpoint(f"{texts['url'].rstrip('/')}/{tenant}/oauth2/v2.0/token")
    return setup.renewed(_Client(endpoint, texts["client_id"], setup.secrets["client_secret"], texts["scope"]))
