"""Texts of calls in their records, where somebody asked for them."""

from typing import Any

import pytest

from llmgateway_server.testing.gateway import running_gateway
from tests.faults.kit import ask, failure_of, read_all, records_of

KEY = "sk-proj-abcdefghijklmnop0123456789"
QUESTION = f"mail jane@mail.example, use {KEY}"
MASKED = "mail [EMAIL], use [KEY]"


def settings(**telemetry: Any) -> dict[str, Any]:
    return {"providers": {"simulator": {"vendor": "simulator"}}, "telemetry": telemetry}


async def test_by_default_there_is_none() -> None:
    async with running_gateway(settings()) as gateway:
        await gateway.stub.Complete(ask(QUESTION, model=""))
        (record,) = records_of(gateway, "call")
        assert not {"request_text", "reply_text"} & record.keys()
        assert "jane" not in gateway.record_text()


async def test_a_record_holds_masked_texts() -> None:
    async with running_gateway(settings(content="masked")) as gateway:
        reply = await gateway.stub.Complete(ask(QUESTION, model=""))
        await read_all(gateway.stub.StreamComplete(ask(QUESTION, model="simulator/chat?pace_ms=1")))
        assert KEY in reply.parts[0].text  # callers get what the model said
        unary, streamed = records_of(gateway, "call")
        for record in (unary, streamed):
            assert record["request_text"] == f"user: {MASKED}"
            assert record["reply_text"] == f"text: You said: {MASKED}"
        assert KEY not in gateway.record_text()


async def test_what_was_said_before_a_failure_is_there() -> None:
    async with running_gateway(settings(content="masked")) as gateway:
        broken = "simulator/chat?tokens=5&fault=cut&at=2"
        await failure_of(read_all(gateway.stub.StreamComplete(ask("hi", model=broken))))
        (record,) = records_of(gateway, "call")
    assert record["reply_text"] == "text: the gateway "


@pytest.mark.parametrize(("tenants", "written"), [([], True), (["acme"], False)])
async def test_content_may_be_that_of_some_tenants(tenants: list[str], *, written: bool) -> None:
    async with running_gateway(settings(content="masked", content_tenants=tenants)) as gateway:
        await gateway.stub.Complete(ask("hi", model=""))
        (record,) = records_of(gateway, "call")
    assert ("request_text" in record) is written
