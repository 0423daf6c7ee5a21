"""What the tests of guarded egress share: a private authority, a resolver by table, and a judge that knows loopback."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trustme

from llmgateway_server.core.errors import RequestError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.egress.address import IPAddress, refused_because
from llmgateway_server.providers.egress.fetch import Egress, Fetched
from llmgateway_server.providers.egress.settings import EgressSettings
from tests.contract.raw_server import BACKSTOP_S, Behaviour, RawServer, until
from tests.contract.wire_kit import _open_client_sockets

NAME = "media.example.com"
FIELD = "messages[0].parts[1].media.uri"
PNG = b"\x89PNG\r\n\x1a\n"
CA = trustme.CA()
STRANGER = trustme.CA()


def head(status: str = "200 OK", **fields: str) -> bytes:
    """Returns a response head; underscores in names stand for hyphens."""
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def content(data: bytes = PNG, mime_type: str = "image/png", **fields: str) -> bytes:
    """Returns a whole response."""
    return head(content_type=mime_type, content_length=str(len(data)), **fields) + data


def at_server(name: str = NAME, authority: trustme.CA = CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


def at_client() -> ssl.SSLContext:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    return context


class Table:
    """A resolver that answers with each row in turn, the last for ever."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def resolve(self, host: str, port: int) -> tuple[IPAddress, ...]:
        self.asked.append((host, port))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return tuple(ipaddress.ip_address(address) for address in answer)

    async def aclose(self) -> None:
        pass


def only(*allowed: str) -> object:
    """Returns a judge that lets these addresses through besides public ones."""
    addresses = {ipaddress.ip_address(each) for each in allowed}
    return lambda address: None if address in addresses else refused_because(address)


class Rig:
    """A server and an egress that may reach it.

    Attributes:
        uri: address of the server's content.
    """

    def __init__(self, server: RawServer, table: Table, egress: Egress) -> None:
        self.server = server
        self.table = table
        self.egress = egress
        self.uri = f"https://{NAME}:{server.port}/a.png?b=c"

    async def fetch(self, uri: str = "", **options: object) -> Fetched:
        return await self.egress.fetch(uri or self.uri, **{"field": FIELD, "deadline_s": BACKSTOP_S, **options})  # type: ignore[arg-type]

    async def refusal(self, uri: str = "", **options: object) -> str:
        """Returns the cause of a fetch that must be refused."""
        with pytest.raises(RequestError) as caught:
            await self.fetch(uri, **options)
        return cause_of(caught.value)


def cause_of(error: RequestError) -> str:
    """Returns the cause, and holds that nothing of the URL is told."""
    assert error.reason is Reason.EGRESS_REFUSED
    told = f"{error} {error.slots} {error.detail}"
    assert not any(secret in told for secret in (NAME, "a.png", "127.0.0", "b=c"))
    return error.slots["cause"]


@asynccontextmanager
async def rig(
    behaviour: Behaviour,
    *,
    table: Table | None = None,
    allowed: tuple[str, ...] = ("127.0.0.1",),
    context: ssl.SSLContext | None = None,
    plain: bool = False,
    **settings: object,
) -> AsyncIterator[Rig]:
    """Yields a rig inside the back-stop of time; afterwards no socket and no task is left."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # a server's view of handshakes that we end
    table = table or Table(("127.0.0.1",))
    async with (
        asyncio.timeout(BACKSTOP_S),
        RawServer(behaviour, context=None if plain else context or at_server()) as server,
    ):
        egress = Egress(
            EgressSettings(ports=(443, server.port), **settings),  # type: ignore[arg-type]
            resolver=table,
            judge=only(*allowed),  # type: ignore[arg-type]
            ssl_context=at_client(),
        )
        yield Rig(server, table, egress)
        await egress.aclose()
        tasks = {task for task in asyncio.all_tasks() if "llmgateway" in repr(task.get_coro())}
        assert not tasks, tasks
        await until(lambda: _open_client_sockets(server.port) == 0 and server.live == 0)
