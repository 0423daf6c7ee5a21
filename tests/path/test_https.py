"""A provider behind TLS, judged by the machine's own trust store and by the account's."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme

from llmgateway_server.config.load import ConfigError
from llmgateway_server.testing.gateway import running_gateway
from tests.path.test_calls import ask, reason_of

BODY = (
    b'{"id":"c1","model":"m","choices":[{"message":{"role":"assistant","content":"over TLS"},"finish_reason":"stop"}]}'
)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


@asynccontextmanager
async def provider(authority: trustme.CA) -> AsyncIterator[int]:
    """Serves one answer per connection at a certificate for `localhost`, and yields its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


def settings(host: str, port: int, **account: str) -> dict[str, object]:
    address = f"https://{host}:{port}/v1"
    return {"providers": {"openai": {"vendor": "openai", "base_url": address, "api_key": "k", **account}}}


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))  # where OpenSSL finds the trusted authorities
    return authority


async def test_a_provider_with_a_good_certificate_answers(authority: trustme.CA) -> None:
    async with provider(authority) as port, running_gateway(settings("localhost", port)) as gateway:
        reply = await gateway.stub.Complete(ask(model="openai/m"), timeout=10)
    assert reply.parts[0].text == "over TLS"


@pytest.mark.parametrize("wrong", ["name", "authority"])
async def test_a_provider_with_a_wrong_certificate_is_not_called(authority: trustme.CA, wrong: str) -> None:
    host = "127.0.0.1" if wrong == "name" else "localhost"
    serving = authority if wrong == "name" else trustme.CA()
    async with provider(serving) as port, running_gateway(settings(host, port)) as gateway:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.stub.Complete(ask(model="openai/m"), timeout=10)
        attempts = [record for record in gateway.records() if record["record"] == "attempt"]
    assert reason_of(caught.value) == "UPSTREAM_TLS"
    assert [(attempt["charge"], attempt["request_bytes"]) for attempt in attempts] == [("C0", 0)]


async def test_an_account_may_trust_an_authority_of_its_own_too(authority: trustme.CA, tmp_path: Path) -> None:
    private = trustme.CA()
    private.cert_pem.write_to_path(str(tmp_path / "private.pem"))
    bundle = str(tmp_path / "private.pem")
    async with provider(private) as port, running_gateway(settings("localhost", port, ca_bundle=bundle)) as gateway:
        assert (await gateway.stub.Complete(ask(model="openai/m"), timeout=10)).parts[0].text == "over TLS"
    async with provider(authority) as port, running_gateway(settings("localhost", port, ca_bundle=bundle)) as gateway:
        assert (await gateway.stub.Complete(ask(model="openai/m"), timeout=10)).parts[0].text == "over TLS"


@pytest.mark.parametrize("wrong", ["name", "authority"])
async def test_an_authority_of_its_own_trusts_nothing_else(tmp_path: Path, wrong: str) -> None:
    private = trustme.CA()
    private.cert_pem.write_to_path(str(tmp_path / "private.pem"))
    host = "127.0.0.1" if wrong == "name" else "localhost"
    serving = private if wrong == "name" else trustme.CA()
    account = {"ca_bundle": str(tmp_path / "private.pem")}
    async with provider(serving) as port, running_gateway(settings(host, port, **account)) as gateway:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.stub.Complete(ask(model="openai/m"), timeout=10)
    assert reason_of(caught.value) == "UPSTREAM_TLS"


@pytest.mark.parametrize("content", [None, "", "nonsense"])
async def test_a_bundle_that_cannot_be_used_stops_the_start(tmp_path: Path, content: str | None) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    with pytest.raises(ConfigError, match=r"^providers\.openai\.ca_bundle: .*bundle\.pem"):
        async with running_gateway(settings("localhost", 1, ca_bundle=str(bundle))):
            pass


async def test_a_bundle_for_plaintext_is_a_mistake() -> None:
    account = {"vendor": "openai-compatible", "base_url": "http://localhost:1/v1", "ca_bundle": "x"}
    with pytest.raises(ConfigError, match="ca_bundle is for https"):
        async with running_gateway({"providers": {"p": account}}):
            pass
