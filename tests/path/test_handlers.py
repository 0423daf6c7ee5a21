"""Handlers behind a whole gateway: somebody's Python is a provider like any other."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import structlog
from google.rpc import error_details_pb2

from llmgateway.v1 import completion_pb2, embedding_pb2, message_pb2, reply_pb2, routing_pb2, token_count_pb2, tool_pb2
from llmgateway_server.observe import log
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from tests.faults.kit import (
    BACKSTOP_S,
    ask,
    bad_fields_of,
    detail_of,
    failure_of,
    quiet,
    read_all,
    reason_of,
    records_of,
    until,
)
from tests.path import handlers_kit as kit

FORMS = {
    "whole": {},
    "streamed": {},
    "callable_object": {},
    "blocking": {"threads": 2},
    "blocking_stream": {"threads": 2},
}

ONCE = routing_pb2.RoutingOptions(max_attempts=1)
TWO_TARGETS = {
    "models": {"house": {"targets": [{"provider": "up", "model": "m"}, {"provider": "simulator", "model": "chat"}]}}
}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    kit.reset()
    yield
    kit.release.set()


@asynccontextmanager
async def gateway_for(name: str, *, sections: Any = None, **settings: Any) -> AsyncIterator[RunningGateway]:
    """Runs a gateway with the simulator and, as `up`, a handler of the kit."""
    document = {
        "gate": {"max_loop_lag_s": 60.0},
        "providers": {"up": kit.account(name, **settings), "simulator": {"vendor": "simulator"}},
        **(sections or {}),
    }
    async with running_gateway(document) as gateway:
        yield gateway


def request(text: str = "hi there", model: str = "up/m", **options: Any) -> completion_pb2.CompleteRequest:
    return ask(text, model, **options)


def texts(events: list[Any]) -> list[str]:
    return [event.text_delta.text for event in events if event.HasField("text_delta")]


# --- answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMS)
async def test_every_form_answers_whole_and_streamed(name: str) -> None:
    async with gateway_for(name, **FORMS[name]) as gateway:
        reply = await gateway.stub.Complete(request())
        events = await read_all(gateway.stub.StreamComplete(request()))
        records = records_of(gateway, "attempt")
    assert [part.text for part in reply.parts] == ["one two three"]
    assert "".join(texts(events)) == "one two three"
    assert (reply.finish_reason, events[-1].finished.finish_reason) == (reply_pb2.FINISH_REASON_STOP,) * 2
    assert (reply.target.provider, reply.target.vendor, reply.provider_model) == ("up", "python", "m")
    assert [each.streaming for each in kit.seen] == [False, True]
    assert [each["outcome"] for each in records] == ["succeeded", "succeeded"]


async def test_what_comes_whole_is_streamed_as_one_delta() -> None:
    async with gateway_for("whole") as gateway:
        events = await read_all(gateway.stub.StreamComplete(request()))
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["started", "part_started", "text_delta", "part_finished", "finished"]


async def test_usage_is_estimated_with_a_notice_where_the_handler_gives_none() -> None:
    async with gateway_for("whole") as gateway:
        reply = await gateway.stub.Complete(request())
    assert (reply.usage.input_token_count, reply.usage.output_token_count) == (2, 4)  # a quarter of the bytes
    codes = [reply_pb2.NoticeCode.Name(notice.code) for notice in reply.notices]
    assert codes == ["NOTICE_CODE_USAGE_ESTIMATED", "NOTICE_CODE_UNPRICED"]


@pytest.mark.parametrize("name", ["full", "full_stream"])
async def test_answers_have_parts_calls_usage_and_a_cost(name: str) -> None:
    price = {"input_usd": 1, "output_usd": 2}
    sections = {"models": {"house": {"targets": [{"provider": "up", "model": "m", "price": price}]}}}
    async with gateway_for(name, sections=sections) as gateway:
        reply = await gateway.stub.Complete(request(model="house"))
        events = await read_all(gateway.stub.StreamComplete(request(model="house")))
    reasoning, text, first, second = reply.parts
    assert (reasoning.reasoning.text, text.text) == ("A question about the weather.", "Let me look.")
    assert (first.tool_call.id, first.tool_call.name, first.tool_call.arguments_json) == (
        "c-1",
        "look",
        '{"at": "sky"}',
    )
    assert second.tool_call.id.startswith("call_")
    assert second.tool_call.arguments_json == "{}"
    assert reply.finish_reason == reply_pb2.FINISH_REASON_TOOL_CALLS
    for usage in (reply.usage, events[-1].finished.usage):
        assert (usage.input_token_count, usage.output_token_count) == (11, 7)
        assert (usage.cache_read_token_count, usage.reasoning_token_count) == (3, 2)
    assert reply.cost.total.nano_usd == 11 * 1000 + 7 * 2000
    assert not reply.notices


async def test_a_refusal_and_an_empty_answer() -> None:
    async with gateway_for("refuses") as gateway:
        refused = await gateway.stub.Complete(request())
    async with gateway_for("nothing") as gateway:
        empty = await gateway.stub.Complete(request())
    assert [part.refusal.text for part in refused.parts] == ["Not that."]
    assert refused.finish_reason == reply_pb2.FINISH_REASON_REFUSAL
    assert (len(empty.parts), empty.finish_reason) == (0, reply_pb2.FINISH_REASON_STOP)


async def test_the_handler_sees_the_whole_request() -> None:
    call = message_pb2.ToolCall(id="c", name="look", arguments_json="{}")
    result = message_pb2.ToolResult(tool_call_id="c", name="look", content=[message_pb2.ToolResultContent(text="blue")])
    said = [
        (message_pb2.ROLE_SYSTEM, message_pb2.Part(text="Be brief.")),
        (message_pb2.ROLE_USER, message_pb2.Part(text="What is it?")),
        (message_pb2.ROLE_USER, message_pb2.Part(media=message_pb2.Media(mime_type="image/png", data=b"png"))),
        (message_pb2.ROLE_ASSISTANT, message_pb2.Part(tool_call=call)),
        (message_pb2.ROLE_TOOL, message_pb2.Part(tool_result=result)),
    ]
    asked = completion_pb2.CompleteRequest(
        model="up/m",
        messages=[message_pb2.Message(role=role, parts=[part]) for role, part in said],
        tools=[tool_pb2.Tool(name="look", parameters_json_schema='{"type":"object"}')],
        temperature=0.5,
        stop=["END"],
        max_output_tokens=9,
        reasoning=completion_pb2.ReasoningOptions(effort=completion_pb2.REASONING_EFFORT_LOW),
    )
    asked.metadata.user = "u-1"
    asked.metadata.tags["team"] = "blue"
    async with gateway_for("whole", base_url="http://127.0.0.1:9", api_key="sk-1") as gateway:
        reply = await gateway.stub.Complete(asked, timeout=20)
    (seen,) = kit.seen
    assert (seen.model, seen.provider, seen.base_url, seen.call_id) == ("m", "up", "http://127.0.0.1:9", reply.call_id)
    assert [(message.role, message.text) for message in seen.messages] == [
        ("system", "Be brief."),
        ("user", "What is it?"),
        ("user", ""),
        ("assistant", ""),
        ("tool", ""),
    ]
    image, tool_call, tool_result = (seen.messages[at].parts[0] for at in (2, 3, 4))
    assert (image.mime_type, image.data) == ("image/png", b"png")  # type: ignore[union-attr]
    assert (tool_call.id, tool_result.call_id, tool_result.parts[0].text) == ("c", "c", "blue")  # type: ignore[union-attr]
    options = seen.options
    assert (options.temperature, options.stop, options.max_output_tokens) == (0.5, ("END",), 9)
    assert (options.reasoning_effort, options.top_p, seen.tools[0].name) == ("low", None, "look")
    assert (seen.metadata.user, dict(seen.metadata.tags)) == ("u-1", {"team": "blue"})
    assert 0 < seen.deadline_s <= 21  # the gateway hears of it a moment later
    assert seen.api_key is not None
    assert "sk-1" not in repr(seen)


# --- what is refused ---------------------------------------------------------------------------------------------


async def test_log_probabilities_are_refused_or_dropped_with_a_notice() -> None:
    wanted = completion_pb2.LogprobsOptions(top_count=1)
    async with gateway_for("whole") as gateway:
        error = await failure_of(gateway.stub.Complete(request(logprobs=wanted)))
        reply = await gateway.stub.Complete(
            request(logprobs=wanted, unsupported_options=completion_pb2.UNSUPPORTED_OPTION_POLICY_DROP)
        )
    assert (reason_of(error), bad_fields_of(error)) == ("UNSUPPORTED_OPTION", ["logprobs"])
    assert "logprobs" in [notice.subject for notice in reply.notices]


async def test_addresses_are_fetched_by_the_gateway_under_its_guard() -> None:
    asked = request()
    asked.messages[0].parts.add().media.uri = "https://10.0.0.1/secret.png"
    async with gateway_for("whole") as gateway:
        error = await failure_of(gateway.stub.Complete(asked))
    assert (reason_of(error), kit.seen) == ("EGRESS_REFUSED", [])


async def test_an_account_with_models_has_no_others() -> None:
    async with gateway_for("whole", models=["small", "large"]) as gateway:
        reply = await gateway.stub.Complete(request(model="large"))
        error = await failure_of(gateway.stub.Complete(request(model="up/medium")))
        embed = await failure_of(gateway.stub.Embed(embedding_pb2.EmbedRequest(model="small", inputs=["x"])))
        counted = await gateway.stub.CountTokens(token_count_pb2.CountTokensRequest(request=request(model="small")))
    assert reply.provider_model == "large"
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
    assert reason_of(embed) == "UNSUPPORTED_OPTION"
    assert counted.input_token_count > 0
    assert counted.method == token_count_pb2.TOKEN_COUNT_METHOD_ESTIMATE
    assert [each.model for each in kit.seen] == ["large"]


# --- failures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("failed", "UPSTREAM_ERROR"),
        ("overloaded", "UPSTREAM_OVERLOADED"),
        ("rate_limited", "UPSTREAM_RATE_LIMITED"),
        ("quota_exhausted", "PROVIDER_QUOTA_EXHAUSTED"),
        ("unauthorized", "PROVIDER_AUTH_FAILED"),
        ("unavailable", "UPSTREAM_UNREACHABLE"),
        ("timeout", "UPSTREAM_TIMEOUT"),
        ("malformed", "UPSTREAM_MALFORMED"),
        ("unknown_model", "MODEL_NOT_FOUND"),
        ("rejected", "UPSTREAM_REJECTED_REQUEST"),
        ("too_long", "CONTEXT_LENGTH_EXCEEDED"),
        ("refused", "CONTENT_POLICY"),
        ("unsupported", "UNSUPPORTED_OPTION"),
        ("no such kind", "UPSTREAM_ERROR"),
    ],
)
async def test_a_handler_says_how_it_failed(kind: str, reason: str) -> None:
    async with gateway_for("says") as gateway:
        error = await failure_of(gateway.stub.Complete(request(model=f"up/{kind}", routing=ONCE)))
        (attempt,) = records_of(gateway, "attempt")
    assert (reason_of(error), attempt["reason"], attempt["outcome"]) == (reason, reason, "failed")
    assert bad_fields_of(error) == (["seed"] if kind == "unsupported" else [])
    if kind == "overloaded":
        assert detail_of(error, error_details_pb2.RetryInfo).retry_delay.seconds == 7


@pytest.mark.parametrize(
    ("name", "settings", "reason", "said"),
    [
        ("raises", {}, "UPSTREAM_ERROR", "ValueError at handlers_kit.py:"),
        ("raises_in_thread", {"threads": 1}, "UPSTREAM_ERROR", "ValueError at handlers_kit.py:"),
        ("exits", {}, "UPSTREAM_ERROR", "SystemExit at handlers_kit.py:"),
        ("cancels_itself", {}, "UPSTREAM_ERROR", "CancelledError at handlers_kit.py:"),
        ("wrong", {}, "UPSTREAM_MALFORMED", "gave a dict"),
        ("surrogate", {}, "UPSTREAM_MALFORMED", "is not Unicode"),
        ("coroutine_in_thread", {"threads": 1}, "UPSTREAM_MALFORMED", "gave a coroutine"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
async def test_what_a_handler_was_not_meant_to_do_is_the_providers_failure(
    name: str, settings: Any, reason: str, said: str, streaming: bool
) -> None:
    """Its words are told to nobody, its type and its line to the log alone."""
    written = io.StringIO()
    log.configure(log.LogSettings(format="json"), written)
    try:
        async with gateway_for(name, **settings) as gateway:
            call = gateway.stub.StreamComplete if streaming else gateway.stub.Complete
            asked = call(request(kit.CANARY, routing=ONCE))
            error = await failure_of(read_all(asked) if streaming else asked)
            well = await gateway.stub.Complete(request(model="simulator/chat"))
            records = gateway.record_text()
    finally:
        structlog.reset_defaults()
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNAVAILABLE, reason)
    assert said in written.getvalue()
    assert kit.CANARY not in written.getvalue() + records + str(error.details()) + str(error.trailing_metadata())
    assert "Error at" not in records + str(error.details()) + str(error.trailing_metadata())
    assert well.parts


async def test_a_stream_that_fails_midway_keeps_what_came_before() -> None:
    """What was heard is charged, and nothing is tried again."""
    async with gateway_for("raises_midway", sections=TWO_TARGETS) as gateway:
        call = gateway.stub.StreamComplete(request(model="house"))
        heard: list[Any] = []

        async def read() -> None:
            async for message in call:
                heard.extend(message.events)

        error = await failure_of(read())
        records = records_of(gateway, "attempt")
    assert texts(heard) == ["so far "]
    assert reason_of(error) == "UPSTREAM_ERROR"
    assert [each["usage_source"] for each in records] == ["ESTIMATED"]


async def test_a_failing_handler_is_failed_over() -> None:
    async with gateway_for("raises", sections=TWO_TARGETS) as gateway:
        reply = await gateway.stub.Complete(request(model="house"))
        events = await read_all(gateway.stub.StreamComplete(request(model="house")))
    assert [part.text for part in reply.parts] == ["You said: hi there"]
    assert [each.target.provider for each in reply.attempts] == ["up", "simulator"]
    assert reply.attempts[0].outcome == reply_pb2.ATTEMPT_OUTCOME_FAILED
    assert not reply.attempts[0].billed
    assert "".join(texts(events)) == "You said: hi there"


async def test_a_key_that_the_handler_finds_refused_is_set_aside() -> None:
    async with gateway_for("refuses_keys", api_keys=["bad", "good"]) as gateway:
        replies = [await gateway.stub.Complete(request()) for _ in range(2)]
        records = records_of(gateway, "attempt")
    assert [reply.parts[0].text for reply in replies] == ["with good", "with good"]
    assert kit.marks.keys == ["bad", "good", "good"]
    assert [each["key_id"] for each in records] == ["key-1", "key-2", "key-2"]


# --- leaving and time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "closed"), [("hangs", 0), ("hangs_midway", 1)])
async def test_a_caller_that_leaves_cancels_the_handler_at_once(name: str, closed: int) -> None:
    async with gateway_for(name) as gateway:
        call = gateway.stub.StreamComplete(request())
        if closed:
            await call.read()
        await until(lambda: kit.marks.began == 1)
        left_s = time.monotonic()
        call.cancel()
        await until(lambda: kit.marks.cancelled == 1)
        took_s = time.monotonic() - left_s
        await quiet(gateway)
        (attempt,) = records_of(gateway, "attempt")
    assert (attempt["outcome"], kit.marks.closed) == ("cancelled", closed)
    assert took_s < 2  # generous: the machine may be busy


async def test_a_generator_is_closed_where_its_caller_stopped_to_read() -> None:
    """It has made as much as fits, and waits at its `yield`."""
    async with gateway_for("endless") as gateway:
        call = gateway.stub.StreamComplete(request())
        await call.read()
        before = -1
        while kit.marks.yielded != before:
            before = kit.marks.yielded
            await asyncio.sleep(0.2)
        assert before * 1024 < 8 * 1024 * 1024
        call.cancel()
        await until(lambda: kit.marks.closed == 1)
        await quiet(gateway)


@pytest.mark.parametrize(
    ("name", "timeouts", "streaming", "reason"),
    [
        ("hangs", {"first_token_s": 0.2}, True, "UPSTREAM_TIMEOUT"),
        ("hangs_midway", {"idle_s": 0.2}, True, "UPSTREAM_STALLED"),
        ("hangs", {}, False, "DEADLINE_EXCEEDED"),
        ("hangs_midway", {}, True, "DEADLINE_EXCEEDED"),
    ],
)
async def test_timeouts_hold(name: str, timeouts: Any, streaming: bool, reason: str) -> None:
    async with gateway_for(name, sections={"timeouts": timeouts}) as gateway:
        timeout_s = 1.0 if reason == "DEADLINE_EXCEEDED" else BACKSTOP_S
        call = (gateway.stub.StreamComplete if streaming else gateway.stub.Complete)(
            request(routing=ONCE), timeout=timeout_s
        )
        error = await failure_of(read_all(call) if streaming else call)
        await until(lambda: kit.marks.cancelled == 1)
        await quiet(gateway)
        (attempt,) = records_of(gateway, "attempt")
    assert attempt["reason"] in (reason, "CANCELLED")  # both sides have a timer for the deadline
    assert reason_of(error) in (reason, "")
    assert reason != "DEADLINE_EXCEEDED" or error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_handler_that_ignores_its_cancelling_does_not_hold_its_call() -> None:
    sections = {**TWO_TARGETS, "timeouts": {"first_token_s": 0.2}}
    async with gateway_for("deaf", sections=sections) as gateway:
        events = await read_all(gateway.stub.StreamComplete(request(model="house"), timeout=BACKSTOP_S))
        assert kit.marks.closed == 0
        kit.release.set()
        await until(lambda: kit.marks.closed == 1)
    assert "".join(texts(events)) == "You said: hi there"


async def test_threads_are_as_many_as_configured() -> None:
    async with gateway_for("waits", threads=2) as gateway:
        calls = [gateway.stub.Complete(request()) for _ in range(5)]
        await until(lambda: kit.marks.running == 2)
        beside = await gateway.stub.Complete(request(model="simulator/chat"))  # the loop is free meanwhile
        kit.release.set()
        replies = await asyncio.gather(*calls)
    assert beside.parts
    assert [reply.parts[0].text for reply in replies] == ["at last"] * 5
    assert kit.marks.most_running == 2


async def test_a_thread_that_hangs_keeps_its_place_and_no_call() -> None:
    async with gateway_for("waits", threads=1, sections={"timeouts": {"first_token_s": 0.2}}) as gateway:
        for _ in range(2):  # the second one waits for a thread
            error = await failure_of(read_all(gateway.stub.StreamComplete(request(routing=ONCE))))
            assert reason_of(error) == "UPSTREAM_TIMEOUT"
        assert (kit.marks.running, kit.marks.most_running) == (1, 1)
        kit.release.set()
        reply = await gateway.stub.Complete(request())
    assert reply.parts[0].text == "at last"


async def test_a_generator_in_a_thread_is_closed_when_its_caller_leaves() -> None:
    async with gateway_for("hangs_midway_in_thread", threads=1) as gateway:
        call = gateway.stub.StreamComplete(request())
        await call.read()
        call.cancel()
        await until(lambda: kit.marks.closed == 1)
        await quiet(gateway)
