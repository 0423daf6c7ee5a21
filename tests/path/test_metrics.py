"""Metrics and probes over a real HTTP door."""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from llmgateway.v1 import embedding_pb2, status_pb2
from llmgateway_server.app import App
from llmgateway_server.config.load import ConfigError, from_document
from llmgateway_server.http.connection import MAX_CONNECTIONS
from llmgateway_server.http.pages import MAX_HEAD_BYTES
from llmgateway_server.observe.metrics import METRICS, NONE, Kind
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from llmgateway_server.testing.upstream import Upstream, answer, json_answer
from tests.faults.kit import ask, settings

LOOPBACK = {"listen": "127.0.0.1:0"}
TOKEN = "a-token-of-24-characters"
CHAT = "simulator-chat"
BROKEN = "simulator/chat?fault=http&status=500"
REFUSES_KEY = json_answer({"error": {"message": "no", "type": "invalid_request_error", "code": "invalid_api_key"}}, 401)
Samples = dict[tuple[str, tuple[str, ...]], float]


@asynccontextmanager
async def door(gateway: RunningGateway, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{gateway.app.http_address}", headers=headers) as client:
        yield client


async def scrape(gateway: RunningGateway) -> tuple[Samples, str]:
    async with door(gateway) as client:
        page = await client.get("/metrics")
    assert page.status_code == 200
    return parsed(page.text), page.text


def parsed(text: str) -> Samples:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(found: Samples, name: str) -> float:
    return sum(value for (each, _), value in found.items() if each == name)


async def failing(gateway: RunningGateway, **request: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await gateway.stub.Complete(ask(**request))


async def test_every_metric_of_the_table_is_served() -> None:
    async with running_gateway(settings(http=LOOPBACK)) as gateway:
        await gateway.stub.Complete(ask(model=CHAT))
        async with door(gateway) as client:
            page = await client.get("/metrics")
            head = await client.head("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(page.text)}
    assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert (head.status_code, head.text, page.headers["cache-control"]) == (200, "", "no-store")
    assert len(families) == len(METRICS)
    for metric in METRICS:
        name = metric.name.removesuffix("_total") if metric.kind is Kind.COUNTER else metric.name
        assert families[name].type == metric.kind


async def test_figures_are_those_of_the_records_and_of_the_rpc() -> None:
    async with Upstream(answer("hi")) as upstream:
        upstream.then(REFUSES_KEY)
        document = settings(upstream, http=LOOPBACK, max_attempts=2)
        document["providers"]["up"] |= {"api_keys": ["one", "two"]}
        async with running_gateway(document) as gateway:
            for text in ("one", "one two three", "one two"):
                await gateway.stub.Complete(ask(text, model=CHAT))
            events = [each async for each in gateway.stub.StreamComplete(ask(model="simulator/chat?tokens=5"))]
            await gateway.stub.Embed(embedding_pb2.EmbedRequest(inputs=["a b", "c"], dimensions=8))
            await gateway.stub.Complete(ask())
            await failing(gateway, model=BROKEN, routing={"max_attempts": 1})
            await failing(gateway, model="nothing")
            await failing(gateway, model=CHAT, temperature=9.0)
            found, _ = await scrape(gateway)
            records = gateway.records()
            rpc = await gateway.stub.Metrics(status_pb2.MetricsRequest())
    calls = [record for record in records if record["record"] == "call"]
    attempts = [record for record in records if record["record"] == "attempt"]
    assert events
    assert (len(calls), len(attempts)) == (9, 8)
    by_outcome: Counter[str] = Counter()
    for (name, labels), value in found.items():
        if name == "llm_gateway_requests_total":
            by_outcome[labels[-1]] += int(value)
    assert by_outcome == Counter(record["outcome"] for record in calls)
    assert {
        labels: value for (name, labels), value in found.items() if name == "llm_gateway_attempts_total"
    } == Counter((each["provider"], each["outcome"], each["reason"] or NONE) for each in attempts)
    for metric, field in (
        ("input_tokens_total", "input_tokens"),
        ("output_tokens_total", "output_tokens"),
        ("upstream_request_bytes_total", "request_bytes"),
        ("upstream_response_bytes_total", "response_bytes"),
        ("attempt_duration_ms_sum", "duration_ms"),
    ):
        assert total(found, f"llm_gateway_{metric}") == pytest.approx(
            sum(each[field] or 0 for each in attempts), abs=0.1
        )
    nano_usd = sum(each["cost_nano_usd"] or 0 for each in attempts)
    assert total(found, "llm_gateway_cost_usd_total") * 1e9 == pytest.approx(nano_usd)
    assert nano_usd > 0
    assert total(found, "llm_gateway_time_to_first_token_ms_sum") == pytest.approx(
        sum(each.get("first_token_ms") or 0 for each in calls), abs=0.1
    )
    assert total(found, "llm_gateway_request_duration_ms_count") == len(calls)
    assert found["llm_gateway_refused_total", ("MODEL_NOT_FOUND",)] == 1
    assert found["llm_gateway_refused_total", ("INVALID_REQUEST",)] == 1
    assert total(found, "llm_gateway_refused_total") == 2
    assert found["llm_gateway_keys_set_aside_total", ("up", "PROVIDER_AUTH_FAILED")] == 1
    assert found["llm_gateway_in_flight_calls", ()] == found["llm_gateway_open_streams", ()] == 0
    # the same by RPC
    assert rpc.calls.call_count == len(calls)
    assert (rpc.calls.input_token_count, rpc.calls.cost.nano_usd) == (
        total(found, "llm_gateway_input_tokens_total"),
        nano_usd,
    )
    up = next(each for each in rpc.providers if each.provider == "up")
    assert (up.attempt_count, up.success_rate) == (2, 0.5)


async def test_hostile_model_names_do_not_grow_the_series() -> None:
    async with running_gateway(settings(http=LOOPBACK)) as gateway:
        await failing(gateway, model="first")
        await gateway.stub.Complete(ask(model="simulator/first"))
        before, _ = await scrape(gateway)
        for number in range(50):
            await failing(gateway, model=f'hostile-{number}"}} 1')
            await gateway.stub.Complete(ask(model=f"simulator/hostile-{number}"))
        after, text = await scrape(gateway)
    assert "hostile" not in text
    assert set(after) == set(before)
    assert after["llm_gateway_folded_total", ("unknown",)] == 102
    assert total(after, "llm_gateway_requests_total") == 102


async def test_scraping_while_200_calls_run() -> None:
    async with running_gateway(settings(http=LOOPBACK)) as gateway:

        async def one_call(number: int) -> int:
            model = f"simulator/chat?tokens=20&pace_ms={number % 4}"
            return len([each async for each in gateway.stub.StreamComplete(ask(model=model))])

        running = asyncio.gather(*(one_call(number) for number in range(200)))
        seen: list[float] = []
        most_open = 0.0
        async with door(gateway) as client:
            while not running.done():
                found = parsed((await client.get("/metrics")).text)
                seen.append(total(found, "llm_gateway_requests_total"))
                most_open = max(most_open, found["llm_gateway_open_streams", ()])
                assert found["llm_gateway_in_flight_calls", ()] >= found["llm_gateway_open_streams", ()]
        assert all(await running)
        found, _ = await scrape(gateway)
    assert seen == sorted(seen)
    assert most_open > 0
    assert total(found, "llm_gateway_requests_total") == 200
    assert found["llm_gateway_open_streams", ()] == 0


async def test_a_caller_who_leaves_closes_its_stream() -> None:
    async with running_gateway(settings(http=LOOPBACK)) as gateway:
        call = gateway.stub.StreamComplete(ask(model="simulator/chat?tokens=1000&pace_ms=50"))
        await call.read()
        opened, _ = await scrape(gateway)
        call.cancel()
        async with asyncio.timeout(15):
            while gateway.app.parts.gate.in_flight:
                await asyncio.sleep(0.01)
        closed, _ = await scrape(gateway)
    assert (opened["llm_gateway_open_streams", ()], closed["llm_gateway_open_streams", ()]) == (1, 0)
    assert closed["llm_gateway_requests_total", ("complete", CHAT, "simulator", "cancelled")] == 1


async def test_a_token_opens_metrics_and_probes_need_none() -> None:
    document = settings(http={**LOOPBACK, "metrics_token": "env:TOKEN"})
    async with running_gateway(document, environment={"TOKEN": TOKEN}) as gateway, door(gateway) as client:
        answers = [
            (await client.get("/metrics", headers=headers)).status_code
            for headers in (
                {},
                {"authorization": f"Bearer {TOKEN}"},
                {"authorization": f"bearer  {TOKEN}"},
                {"authorization": "Bearer wrong"},
                {"authorization": f"Basic {TOKEN}"},
                {"authorization": "Bearer"},
            )
        ]
        refused = await client.get("/metrics")
        probes = [(await client.get(path)).status_code for path in ("/healthz", "/readyz")]
        others = [
            (await client.get("/")).status_code,
            (await client.post("/metrics")).status_code,
            (await client.get("/metrics/")).status_code,
        ]
    assert answers == [401, 200, 200, 401, 401, 401]
    assert (refused.headers["www-authenticate"], refused.text) == ("Bearer", "unauthorized\n")
    assert probes == [200, 200]
    assert others == [404, 405, 307]


async def test_a_draining_gateway_lives_and_is_not_ready() -> None:
    document = settings(http=LOOPBACK)
    async with running_gateway(document) as gateway, door(gateway) as client:
        ready = await client.get("/readyz")
        draining = asyncio.create_task(gateway.app.drain(delay_s=1.0))
        await asyncio.sleep(0)
        answers = [await client.get(path) for path in ("/readyz", "/healthz", "/metrics")]
        await draining
        with pytest.raises(httpx.TransportError):
            await client.get("/healthz")
    assert (ready.status_code, ready.text) == (200, "ready\n")
    assert [each.status_code for each in answers] == [503, 200, 200]
    assert answers[0].text == "draining\n"


async def test_signal_handlers_stay_ours() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with running_gateway(settings(http=LOOPBACK)) as gateway:
        await scrape(gateway)
        during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert during == before


async def raw(gateway: RunningGateway) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = gateway.app.http_address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n", b"431"),
        (b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nhost: x\r\n\r\n", b"431"),
        (b"GET /" + b"a" * (2 * MAX_HEAD_BYTES), b"400"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", b"200"),
    ],
)
async def test_what_is_not_a_plain_small_request_is_refused(request_bytes: bytes, status: bytes) -> None:
    async with running_gateway(settings(http=LOOPBACK)) as gateway:
        reader, writer = await raw(gateway)
        writer.write(request_bytes)
        line = await reader.readline()
        writer.close()
    assert line.split()[1] == status


async def test_connections_are_bounded() -> None:
    async with running_gateway(settings(http=LOOPBACK)) as gateway:
        kept = [await raw(gateway) for _ in range(MAX_CONNECTIONS)]
        for reader, writer in kept:
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readline()).split()[1] == b"200"
        reader, writer = await raw(gateway)
        assert await reader.read() == b""
        writer.close()
        for _, each in kept:
            each.close()
        await kept[0][1].wait_closed()
        async with door(gateway) as client:
            assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\nhos"])
async def test_a_slow_head_ends_with_the_lease(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmgateway_server.http.connection.LEASE_S", 0.2)
    async with running_gateway(settings(http=LOOPBACK)) as gateway:
        reader, writer = await raw(gateway)
        writer.write(sent)
        async with asyncio.timeout(15):
            assert await reader.read() == b""
        writer.close()


async def gone(gateway: RunningGateway) -> None:
    """Waits until the door has seen a connection and has none any more."""
    http = gateway.app._http
    assert http is not None
    connections = http._server.server_state.connections
    async with asyncio.timeout(30):
        while not connections:
            await asyncio.sleep(0.001)
        while connections:
            await asyncio.sleep(0.01)


async def test_a_reader_who_does_not_read_ends_with_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmgateway_server.http.connection.LEASE_S", 0.2)
    async with running_gateway(settings(http=LOOPBACK)) as gateway:
        host, _, port = gateway.app.http_address.rpartition(":")
        with socket.socket() as quiet:
            quiet.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            quiet.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(quiet, (host, int(port)))
            # more answers than all buffers on the way can hold
            asking = asyncio.create_task(loop.sock_sendall(quiet, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n" * 10_000))
            await gone(gateway)
            asking.cancel()
            await asyncio.wait({asking})
        async with door(gateway) as client:
            assert (await client.get("/healthz")).status_code == 200


async def test_stopping_does_not_wait_for_idle_or_begun_connections() -> None:
    async with running_gateway(settings(http=LOOPBACK)) as gateway:
        writers = [(await raw(gateway))[1] for _ in range(3)]
        writers[0].write(b"GET /metrics HTTP/1.1\r\nhos")
        writers[1].write(b"POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nabc")
        await writers[1].drain()
        writers[2].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writers[2].close()
        async with asyncio.timeout(10):
            await gateway.app.stop()
    for writer in writers:
        writer.close()


async def test_an_address_in_use_fails_the_start_and_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        app = App(from_document(settings(http={"listen": listen}, server={"listen": "127.0.0.1:0"}), "test"), {})
        with pytest.raises(OSError, match=f"^http.listen: cannot listen on {listen}: Address already in use$"):
            await app.start()
        await app.stop()
        app = App(from_document(settings(http=LOOPBACK, server={"listen": listen}), "test"), {})
        with pytest.raises(OSError, match=f"^cannot listen on {listen}: Address already in use$"):
            await app.start()
        host, _, port = app.http_address.rpartition(":")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, int(port))
        await app.stop()


@pytest.mark.parametrize(
    ("section", "mistake"),
    [
        ({"listen": "0.0.0.0:9464"}, "beyond loopback needs metrics_token"),
        ({"listen": "[::]:9464"}, "beyond loopback needs metrics_token"),
        ({"listen": "example.com:9464"}, "beyond loopback needs metrics_token"),
        ({"listen": "9464"}, "an address and a port"),
        ({"listen": "127.0.0.1:70000"}, "an address and a port"),
        ({"listen": "127.0.0.1:x"}, "an address and a port"),
    ],
)
def test_settings_that_are_refused(section: dict[str, Any], mistake: str) -> None:
    with pytest.raises(ConfigError, match=mistake):
        from_document(settings(http=section), "test")


@pytest.mark.parametrize(
    "section",
    [
        {"listen": "localhost:0"},
        {"listen": "[::1]:0"},
        {"listen": "0.0.0.0:0", "metrics_token": TOKEN},
        {"listen": "0.0.0.0:0", "insecure": True},
    ],
)
def test_settings_that_are_taken(section: dict[str, Any]) -> None:
    App(from_document(settings(http=section), "test"), {})


def test_a_short_token_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 16 characters"):
        App(from_document(settings(http={**LOOPBACK, "metrics_token": "short"}), "test"), {})


def run_python(code: str) -> int:
    return subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode


MAKE_APP = (
    "import sys\n"
    "from llmgateway_server.app import App\n"
    "from llmgateway_server.config.load import ConfigError, from_document\n"
)


def test_without_an_address_no_http_server_is_loaded() -> None:
    code = (
        MAKE_APP
        + "App(from_document({}, 'test'), {})\nsys.exit(bool({'uvicorn', 'starlette', 'h11'} & set(sys.modules)))"
    )
    assert run_python(code) == 0


def test_without_the_extra_an_address_is_a_mistake_that_names_it() -> None:
    code = MAKE_APP + (
        "sys.modules['uvicorn'] = None\n"
        "try:\n"
        "    App(from_document({'http': {'listen': '127.0.0.1:0'}}, 'test'), {})\n"
        "except ConfigError as error:\n"
        "    sys.exit(0 if 'extra `http`' in str(error) else 1)\n"
        "sys.exit(2)"
    )
    assert run_python(code) == 0
