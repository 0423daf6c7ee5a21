"""A provider behind TLS, judged by the machine's own trust store."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme

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


def settings(host: str, port: int) -> dict[str, object]:
    return {"providers": {"openai": {"vendor": "openai", "base_url": f"https://{host}:{port}/v1", "api_key": "k"}}}


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
