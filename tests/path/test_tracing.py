"""Spans of whole calls, as a real collector gets them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from llmgateway.v1 import embedding_pb2, status_pb2
from llmgateway_server.observe import span_attributes
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from llmgateway_server.testing.upstream import MODEL, Upstream, answer, json_answer, stream
from tests.faults.collector_kit import CLIENT, SERVER, Collector, Seen, collecting
from tests.faults.kit import ask, failure_of, read_all, reason_of, until

OK, ERROR, UNSET = 1, 2, 0
PARENT = f"00-{'a1' * 16}-{'b2' * 8}"
SIMULATOR: dict[str, Any] = {"simulator": {"vendor": "simulator"}}
CANARIES = {
    "prompt": "canaryprompt1c77",
    "answer": "canaryanswer88ab",
    "key": "sk-canary-key-aa5512345678",
    "error": "canaryerror77f0",
    "header": "canaryheader4bd1",
    "metadata": "canarymetadata90",
    "stop": "canarystop5512",
}
PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"


@asynccontextmanager
async def traced(
    document: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None, **telemetry: Any
) -> AsyncIterator[tuple[RunningGateway, Collector]]:
    async with collecting() as collector:
        settings = {
            "gate": {"max_loop_lag_s": 60.0},
            "providers": SIMULATOR,
            **(document or {}),
            "telemetry": {"traces": "otlp", "endpoint": collector.address, **telemetry},
        }
        async with running_gateway(settings, environment=environment) as gateway:
            yield gateway, collector


async def arrived(collector: Collector, count: int) -> tuple[list[Seen], list[Seen]]:
    """Waits for so many spans; returns those of calls and those of attempts, in the order of their beginning."""
    await until(lambda: len(collector.seen) >= count)
    spans = sorted(collector.seen, key=lambda each: each.span.start_time_unix_nano)
    assert len(spans) == count
    return [each for each in spans if each.span.kind == SERVER], [each for each in spans if each.span.kind == CLIENT]


async def test_a_call_with_a_fail_over_is_one_trace_that_goes_on_from_its_caller() -> None:
    models = {
        "both": {
            "targets": [
                {"provider": "simulator", "model": "chat?fault=http&status=503"},
                {"provider": "simulator", "model": "chat?tokens=3"},
            ]
        }
    }
    async with traced({"models": models}, service_name="edge", resource_attributes={"team": "a"}) as (
        gateway,
        collector,
    ):
        reply = await gateway.stub.Complete(ask(model="both"), metadata=(("traceparent", f"{PARENT}-01"),))
        calls, attempts = await arrived(collector, 3)
        records = gateway.records()
    (call,), (first, second) = calls, attempts
    assert call.name == "llmgateway.v1.LlmGatewayService/Complete"
    assert call.span.trace_id.hex() == "a1" * 16
    assert call.span.parent_span_id.hex() == "b2" * 8
    assert reply.trace.trace_id == "a1" * 16
    for each in attempts:
        assert each.span.trace_id == call.span.trace_id
        assert each.span.parent_span_id == call.span.span_id
        assert each.name == "chat chat"
    assert first.span.end_time_unix_nano <= second.span.start_time_unix_nano
    assert (call.span.status.code, first.span.status.code, second.span.status.code) == (UNSET, ERROR, UNSET)
    assert (
        call.attributes.items()
        >= {
            "rpc.system.name": "grpc",
            "rpc.method": "llmgateway.v1.LlmGatewayService/Complete",
            "rpc.response.status_code": "OK",
            "llmgateway.model": "both",
            "llmgateway.attempt_count": 2,
        }.items()
    )
    assert (
        first.attributes.items()
        >= {
            "error.type": "UPSTREAM_OVERLOADED",
            "llmgateway.outcome": "failed",
            "http.response.status_code": 503,
            "llmgateway.attempt": 1,
        }.items()
    )
    assert second.attributes.items() >= {"gen_ai.usage.output_tokens": 3, "llmgateway.outcome": "succeeded"}.items()
    assert call.resource.items() >= {"service.name": "edge", "team": "a", "telemetry.sdk.language": "python"}.items()
    assert call.schema_url.startswith("https://opentelemetry.io/schemas/")
    spans_by_record = {(each["record"], each.get("attempt")): each["span_id"] for each in records}
    assert spans_by_record == {
        ("attempt", 1): first.span.span_id.hex(),
        ("attempt", 2): second.span.span_id.hex(),
        ("call", None): call.span.span_id.hex(),
    }
    assert {each["trace_id"] for each in records} == {"a1" * 16}


async def test_an_attempt_has_the_names_of_the_conventions() -> None:
    async with Upstream() as upstream, traced({"providers": {"up": upstream.provider()}}) as (gateway, collector):
        upstream.then(stream("the ", "answer"))
        await read_all(
            gateway.stub.StreamComplete(ask(model=f"up/{MODEL}", temperature=0.25, max_output_tokens=64, seed=7))
        )
        _, (attempt,) = await arrived(collector, 2)
        host, _, port = upstream.base_url.removeprefix("http://").partition("/")[0].partition(":")
    found = attempt.attributes
    assert attempt.name == f"chat {MODEL}"
    assert (
        found.items()
        >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai-compatible",
            "gen_ai.request.model": MODEL,
            "gen_ai.request.stream": True,
            "gen_ai.request.temperature": 0.25,
            "gen_ai.request.max_tokens": 64,
            "gen_ai.request.seed": 7,
            "gen_ai.response.finish_reasons": ["stop"],
            "server.address": host,
            "server.port": int(port),
            "llmgateway.provider": "up",
        }.items()
    )
    assert found["gen_ai.response.model"]
    assert found["gen_ai.response.time_to_first_chunk"] > 0
    assert found["gen_ai.usage.input_tokens"] >= 1
    assert "error.type" not in found


async def test_embeddings_have_the_conventions_name() -> None:
    async with traced() as (gateway, collector):
        request = embedding_pb2.EmbedRequest(model="simulator/embed", inputs=["a"], dimensions=8)
        await gateway.stub.Embed(request)
        _, (attempt,) = await arrived(collector, 2)
    assert attempt.name == "embeddings embed"
    assert attempt.attributes["gen_ai.embeddings.dimension.count"] == 8


@pytest.mark.parametrize(
    ("model", "code", "reason", "status"),
    [
        ("nothing-of-this-name", "NOT_FOUND", "MODEL_NOT_FOUND", UNSET),
        ("simulator/chat?fault=refuse", "UNAVAILABLE", "UPSTREAM_UNREACHABLE", ERROR),
    ],
)
async def test_only_a_servers_own_errors_are_errors_of_its_span(
    model: str, code: str, reason: str, status: int
) -> None:
    async with traced({"max_attempts": 1}) as (gateway, collector):
        error = await failure_of(gateway.stub.Complete(ask(model=model)))
        await until(lambda: bool(collector.of_kind(SERVER)))
    (call,) = collector.of_kind(SERVER)
    assert error.code().name == code
    assert reason_of(error) == reason
    assert call.span.status.code == status
    assert not call.span.status.message
    assert call.attributes["rpc.response.status_code"] == code
    assert call.attributes["llmgateway.reason"] == reason
    assert call.attributes.get("error.type") == (code if status == ERROR else None)


async def test_a_caller_that_leaves_and_a_deadline_are_told_apart() -> None:
    slow = "simulator/chat?tokens=1000&pace_ms=50"
    async with traced() as (gateway, collector):
        left = gateway.stub.StreamComplete(ask(model=slow))
        await left.read()
        left.cancel()
        late = gateway.stub.StreamComplete(ask(model=slow), timeout=1.5)
        with pytest.raises(grpc.aio.AioRpcError):
            await read_all(late)
        calls, attempts = await arrived(collector, 4)
    assert [each.attributes["rpc.response.status_code"] for each in calls] == ["CANCELLED", "DEADLINE_EXCEEDED"]
    assert [each.span.status.code for each in calls] == [UNSET, ERROR]
    assert [each.attributes["llmgateway.outcome"] for each in attempts] == ["cancelled", "cancelled"]
    assert [each.span.status.code for each in attempts] == [UNSET, UNSET]


@pytest.mark.parametrize(
    ("ratio", "follow", "flags", "spans"),
    [(0.0, True, "01", 2), (1.0, True, "00", 0), (1.0, False, "00", 2), (0.0, False, "01", 0), (0.0, True, "", 0)],
)
async def test_who_decides_what_is_traced(*, ratio: float, follow: bool, flags: str, spans: int) -> None:
    metadata = (("traceparent", f"{PARENT}-{flags}"),) if flags else ()
    async with traced(sample_ratio=ratio, follow_caller=follow) as (gateway, collector):
        reply = await gateway.stub.Complete(ask(model=""), metadata=metadata)
        records = gateway.records()
    # the gateway has stopped: whatever there was is sent
    assert len(collector.seen) == spans
    assert reply.trace.trace_id == ("a1" * 16 if flags else "")
    assert [each["span_id"] is not None for each in records] == [bool(spans)] * 2


async def test_headers_are_a_secret_for_the_collector_alone() -> None:
    environment = {"COLLECTOR": f"authorization=Bearer%20{CANARIES['header']},x-team=a"}
    async with traced(environment=environment, headers_secret="env:COLLECTOR") as (gateway, collector):
        await gateway.stub.Complete(ask(model=""))
        await arrived(collector, 2)
    assert collector.metadata[0]["authorization"] == f"Bearer {CANARIES['header']}"
    assert collector.metadata[0]["x-team"] == "a"


async def test_no_span_and_no_record_holds_content_or_a_secret() -> None:
    environment = {"UP_KEY": CANARIES["key"], "COLLECTOR": f"x-secret={CANARIES['header']}"}
    metadata = (("x-anything", CANARIES["metadata"]), ("tracestate", f"vendor={CANARIES['metadata']}"))
    async with Upstream() as upstream:
        providers = {**SIMULATOR, "up": {**upstream.provider(), "api_key": "env:UP_KEY"}}
        async with traced({"providers": providers, "max_attempts": 1}, environment, headers_secret="env:COLLECTOR") as (
            gateway,
            collector,
        ):
            question = ask(CANARIES["prompt"], model=f"up/{MODEL}", stop=[CANARIES["stop"]])
            upstream.then([answer(CANARIES["answer"])])
            reply = await gateway.stub.Complete(question, metadata=metadata)
            assert reply.parts[0].text == CANARIES["answer"]
            for status in (400, 500):
                error = {"error": {"message": CANARIES["error"], "type": CANARIES["error"]}}
                upstream.then([json_answer(error, status=status)])
                await failure_of(gateway.stub.Complete(question, metadata=metadata))
            scripted = f"simulator/chat?text={CANARIES['answer']}"
            await read_all(gateway.stub.StreamComplete(ask(CANARIES["prompt"], model=scripted)))
            await arrived(collector, 8)
            records = gateway.record_text()
    for name, text in {"spans": collector.text, "records": records}.items():
        assert text
        for kind, canary in CANARIES.items():
            assert canary not in text, f"{kind} in {name}"
            assert canary.encode().hex() not in text, f"{kind} in {name}"


async def test_every_attribute_is_documented() -> None:
    page = PAGE.read_text(encoding="utf-8")
    async with (
        Upstream() as upstream,
        traced({"providers": {**SIMULATOR, "up": upstream.provider()}}) as (
            gateway,
            collector,
        ),
    ):
        upstream.then(stream("a"))
        await read_all(gateway.stub.StreamComplete(ask(temperature=0.5, top_p=0.5)))
        await gateway.stub.Embed(embedding_pb2.EmbedRequest(model="simulator/embed", inputs=["a"], dimensions=8))
        await failure_of(gateway.stub.Complete(ask(model="simulator/chat?fault=http")))
        await gateway.stub.Health(status_pb2.HealthRequest())
        await until(lambda: len(collector.of_kind(SERVER)) == 4)
    found = {name for each in collector.seen for name in (*each.attributes, *each.resource)}
    assert {name for name in found if f"`{name}`" not in page} == set()
    named = set(re.findall(r"^\| `((?:gen_ai|rpc|llmgateway)\.[a-z_.]+)`", page, re.MULTILINE))
    source = Path(span_attributes.__file__).read_text(encoding="utf-8")
    assert {name for name in named if f'"{name}"' not in source} == set()
