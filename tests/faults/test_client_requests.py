"""Requests that are too large, not messages, or full of nonsense: C9, C10, C15 to C19."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from llmgateway.v1 import completion_pb2, llm_gateway_service_pb2, message_pb2, tool_pb2
from llmgateway_server.contract import schema
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from tests.faults.kit import (
    SERVICE,
    LoopLag,
    ask,
    bad_fields_of,
    child_gateway,
    detail_of,
    failure_of,
    reason_of,
    records_of,
    settings,
)

CHAT = "simulator/chat"
LOOP_BLOCKED_S = 0.05
"""No input may hold the loop up for longer."""
PER_MIB_S = 0.02
"""Next to the cap on text it allows more than the bound above: about 42 ms are needed when nothing else runs, so a
machine that is shared would fail a test of 50 ms by chance."""
METHODS = {
    method.name: method for method in llm_gateway_service_pb2.DESCRIPTOR.services_by_name["LlmGatewayService"].methods
}
HEALTH = "/grpc.health.v1.Health/"


def ask_simulator(text: str = "hi", **options: Any) -> completion_pb2.CompleteRequest:
    return ask(text, CHAT, **options)


def raw_unary(channel: grpc.aio.Channel, method: str) -> Any:
    """Returns a call of bytes by bytes."""
    return channel.unary_unary(method)


def raw_stream(channel: grpc.aio.Channel, method: str) -> Any:
    return channel.unary_stream(method)


async def send(gateway: RunningGateway, method: str, data: bytes, *, streaming: bool = False, **options: Any) -> Any:
    """Sends bytes as they are and returns the error, None where there is none."""
    options.setdefault("timeout", 10)
    try:
        if streaming:
            async for _ in raw_stream(gateway.channel, method)(data, **options):
                if method.endswith("/Watch"):
                    break
        else:
            await raw_unary(gateway.channel, method)(data, **options)
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def refusal(gateway: RunningGateway, request: Message) -> grpc.aio.AioRpcError:
    return await failure_of(raw_unary(gateway.channel, f"{SERVICE}Complete")(request.SerializeToString()))


# --- C9, C10: over the transport's limits ------------------------------------------------------------------------


@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "unary"])
async def test_c9_message_over_limit(streaming: bool) -> None:
    async with running_gateway(settings(server={"max_message_bytes": 1024 * 1024})) as gateway:
        method = "StreamComplete" if streaming else "Complete"
        error = await send(
            gateway, SERVICE + method, ask_simulator("x" * (1024 * 1024)).SerializeToString(), streaming=streaming
        )
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason_of(error) == ""  # the library's own status
        assert records_of(gateway, "attempt") == []
        assert await send(gateway, SERVICE + "Complete", ask_simulator("x" * (1024 * 1000)).SerializeToString()) is None


async def test_c9_message_over_limit_costs_bounded_memory() -> None:
    limit, uploads = 4 * 1024 * 1024, 8
    async with child_gateway(settings(server={"max_message_bytes": limit})) as child:
        await child.stub.Complete(ask_simulator())
        data = ask_simulator("x" * (limit * 2)).SerializeToString()
        before = most = child.rss_bytes()
        calls = [raw_unary(child.channel, f"{SERVICE}Complete")(data) for _ in range(uploads)]
        ended = asyncio.gather(*(failure_of(call) for call in calls))
        while not ended.done():
            most = max(most, child.rss_bytes())
            await asyncio.sleep(0.002)
        errors = await ended
        await child.stub.Complete(ask_simulator())
    assert {error.code() for error in errors} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    print(f"C9: {(most - before) / uploads / limit:.2f} × the limit for an upload that is too large")
    assert most - before <= 3 * limit * uploads


async def test_c10_metadata_over_limit() -> None:
    async with running_gateway(settings()) as gateway:
        method, data = SERVICE + "Complete", ask_simulator().SerializeToString()
        error = await send(gateway, method, data, metadata=(("x-large", "x" * 20_000),))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await send(gateway, method, data, metadata=(("x-large", "x" * 6_000),)) is None


@pytest.mark.parametrize("field_count", [1, 50, 1_000, 10_000])
async def test_c10_own_status_details_stay_below_4_kib(field_count: int) -> None:
    request = ask_simulator()
    request.messages[0].parts.extend(message_pb2.Part(text="\0" * 300) for _ in range(field_count))
    request.metadata.tags.update({"\1" * 100 + str(i): "\2" * 128 for i in range(32)})
    request.model = "\1" * 300
    async with running_gateway(settings()) as gateway:
        error = await refusal(gateway, request)
        records = records_of(gateway, "attempt")
    assert reason_of(error) == "INVALID_REQUEST"
    assert detail_of(error, error_details_pb2.RequestInfo).request_id
    assert bad_fields_of(error)
    trailing = error.trailing_metadata()
    assert trailing is not None
    assert sum(len(key) + len(value) for key, value in trailing) <= 4096 + 512
    assert len(dict(trailing)["grpc-status-details-bin"]) <= 4096
    assert records == []


# --- C15, C16: not a message -------------------------------------------------------------------------------------


def damaged(seed: int, count: int) -> Iterator[bytes]:
    """Yields bytes near and far from messages, the same for the same seed."""
    rnd = random.Random(seed)
    whole = ask_simulator("grüße", temperature=0.5, stop=["a"], seed=7).SerializeToString()
    yield b"\x0a\x02\xff\xfe"  # invalid UTF-8 in the first string field
    yield b"\x0a\x05ab"  # a length beyond the end
    yield b"\xff" * 11  # a tag without end
    yield b"\x0a\xff\xff\xff\xff\x0f"
    yield b"\x0b" * 200  # groups in groups
    for _ in range(count):
        match rnd.randrange(4):
            case 0:
                yield rnd.randbytes(rnd.randrange(1, 64))
            case 1:
                yield whole[: rnd.randrange(1, len(whole))]
            case 2:
                flipped = bytearray(whole)
                for _ in range(rnd.randrange(1, 4)):
                    flipped[rnd.randrange(len(flipped))] ^= 1 << rnd.randrange(8)
                yield bytes(flipped)
            case _:
                at = rnd.randrange(len(whole))
                yield whole[:at] + rnd.randbytes(rnd.randrange(1, 9)) + whole[at:]


def undecodable(kind: type[Message], data: bytes) -> bool:
    try:
        kind.FromString(data)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return True
    return False


@pytest.mark.parametrize("name", sorted(METHODS))
async def test_c15_bytes_that_are_no_message(name: str) -> None:
    method = METHODS[name]
    kind = schema.message_class(method.input_type.name)
    refused = 0
    async with running_gateway(settings()) as gateway:
        for data in damaged(15, 150):
            error = await send(gateway, SERVICE + name, data, streaming=method.server_streaming)
            code = error.code() if error is not None else grpc.StatusCode.OK
            assert code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), data
            if undecodable(kind, data):
                refused += 1
                assert code is grpc.StatusCode.INVALID_ARGUMENT, data
                assert reason_of(error) == "MALFORMED_REQUEST", data
    assert refused > 5


@pytest.mark.parametrize("name", ["Check", "Watch"])
async def test_c15_bytes_that_are_no_health_check(name: str) -> None:
    async with running_gateway(settings()) as gateway:
        for data in damaged(16, 150):
            error = await send(gateway, HEALTH + name, data, streaming=name == "Watch")
            code = error.code() if error is not None else grpc.StatusCode.OK
            if undecodable(health_pb2.HealthCheckRequest, data):
                assert code is grpc.StatusCode.INVALID_ARGUMENT, data
            else:
                assert code in (grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND), data


NUL_FIELDS: dict[str, Callable[[completion_pb2.CompleteRequest], None]] = {
    "model": lambda request: setattr(request, "model", "a\0b"),
    "messages[0].parts[0].text": lambda request: setattr(request.messages[0].parts[0], "text", "a\0b"),
    "messages[0].name": lambda request: setattr(request.messages[0], "name", "a\0"),
    "end_user_id": lambda request: setattr(request, "end_user_id", "\0"),
    "idempotency_key": lambda request: setattr(request, "idempotency_key", "\0"),
    "conversation_id": lambda request: setattr(request, "conversation_id", "\0"),
    "service_tier": lambda request: setattr(request, "service_tier", "\0"),
    "metadata.user": lambda request: setattr(request.metadata, "user", "\0"),
    "metadata.project": lambda request: setattr(request.metadata, "project", "\0"),
    "tools[0].name": lambda request: request.tools.append(tool_pb2.Tool(name="a\0")),
}


async def test_c16_nul_is_refused_where_it_stands() -> None:
    async with running_gateway(settings()) as gateway:
        for field, spoil in NUL_FIELDS.items():
            request = ask_simulator()
            spoil(request)
            error = await refusal(gateway, request)
            assert reason_of(error) == "INVALID_REQUEST", field
            assert bad_fields_of(error) == [field]


async def test_c16_lone_surrogate_is_no_message() -> None:
    marker = b"SURROGATE"
    whole = ask_simulator("SURROGATE").SerializeToString()
    for surrogate in (b"\xed\xa0\x80", b"\xed\xbf\xbf"):
        data = whole.replace(marker, surrogate * 3)
        assert len(data) == len(whole)
        async with running_gateway(settings()) as gateway:
            for name in ("Complete", "StreamComplete"):
                error = await send(gateway, SERVICE + name, data, streaming=name.startswith("Stream"))
                assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert reason_of(error) == "MALFORMED_REQUEST"


# --- C17: numbers and enums --------------------------------------------------------------------------------------

FREE_NUMBERS = {"seed"}
"""Numbers that mean something whatever they are."""
UNREAD = ("provider_options", "messages[0].parts[0].citations")
"""Options of one dialect, and what replies attach to their parts."""
FLOATS = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)
INTEGERS = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)


def leaves(descriptor: Descriptor | None, path: str = "") -> Iterator[tuple[str, FieldDescriptor]]:
    """Yields every number and enum of a message; repeated messages are looked at in their first element."""
    for leaf in descriptor.fields if descriptor is not None else ():
        place = f"{path}{leaf.name}" + ("[0]" if leaf.is_repeated else "")
        if place.startswith(UNREAD) or (leaf.message_type is not None and leaf.message_type.GetOptions().map_entry):
            continue
        if leaf.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            yield from leaves(leaf.message_type, f"{place}.")
        elif leaf.cpp_type in (*FLOATS, *INTEGERS, FieldDescriptor.CPPTYPE_ENUM) and place not in FREE_NUMBERS:
            yield place, leaf


LEAVES = dict(leaves(completion_pb2.CompleteRequest.DESCRIPTOR))
WRONG = {
    **dict.fromkeys(FLOATS, (float("nan"), float("inf"), float("-inf"), -1e300, 1e300)),
    **dict.fromkeys(INTEGERS, (-1, -(2**31))),
    FieldDescriptor.CPPTYPE_ENUM: (99, -1),
}


def spoil(request: Message, path: str, value: float) -> None:
    *parents, name = path.split(".")
    target: Any = request
    for parent in parents:
        child = getattr(target, parent.removesuffix("[0]"))
        if parent.endswith("[0]"):
            target = child[0] if len(child) else child.add()
        else:
            target = child
            target.SetInParent()
    if name.endswith("[0]"):
        getattr(target, name.removesuffix("[0]")).append(value)
    else:
        setattr(target, name, value)


@st.composite
def spoilt_fields(draw: st.DrawFn) -> dict[str, Any]:
    chosen = draw(st.lists(st.sampled_from(sorted(LEAVES)), min_size=1, max_size=8, unique=True))
    return {path: draw(st.sampled_from(WRONG[LEAVES[path].cpp_type])) for path in chosen}


def siblings_in_a_oneof(paths: dict[str, Any]) -> bool:
    """Says whether setting one of the fields would clear another one."""
    kinds = {path.split(".")[2] for path in paths if path.startswith("messages[0].parts[0].") and path.count(".") > 2}
    return len(kinds - {"cache_control"}) > 1


def test_c17_every_bad_number_and_enum_is_named() -> None:
    assert len(LEAVES) > 15
    with asyncio.Runner() as runner:
        opened = running_gateway(settings())
        gateway = runner.run(opened.__aenter__())

        @hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(spoilt_fields().filter(lambda paths: not siblings_in_a_oneof(paths)))
        def check(paths: dict[str, Any]) -> None:
            request = ask_simulator()
            for path, value in paths.items():
                spoil(request, path, value)
            error = runner.run(refusal(gateway, request))
            assert reason_of(error) == "INVALID_REQUEST"
            assert set(paths) <= set(bad_fields_of(error))

        try:
            check()
            assert records_of(gateway, "attempt") == []
        finally:
            runner.run(opened.__aexit__(None, None, None))


# --- C18, C19: deep, many, long ----------------------------------------------------------------------------------


def nested(depth: int) -> str:
    """Returns the JSON text of an object that nests so deep."""
    return '{"a":' * (depth - 1) + "{}" + "}" * (depth - 1)


SCHEMAS = {
    "depth-33": (nested(33), "depth"),
    "brackets": ('{"a":' + "[" * 100_000, "depth"),
    "closed-brackets": ('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", "depth"),
    "quotes": ('{"' + '\\"' * 100_000, "syntax"),
    "nodes": ('{"a":[' + "1," * 10_000 + "1]}", "nodes"),
    "size": ('{"a":"' + "x" * 262_144 + '"}', "max_bytes"),
    "nan": ('{"a":NaN}', "syntax"),
    "surrogate": ('{"a":"\\ud800"}', "syntax"),
    "list": ("[]", "object"),
    "huge-number": ('{"a":' + "9" * 100_000 + "}", "syntax"),
}


@pytest.mark.parametrize("field", ["tools[0].parameters_json_schema", "response_format.json_schema.schema_json"])
@pytest.mark.parametrize("case", list(SCHEMAS))
async def test_c18_schemas_without_measure(field: str, case: str) -> None:
    text, rule = SCHEMAS[case]
    request = ask_simulator()
    if field.startswith("tools"):
        request.tools.append(tool_pb2.Tool(name="f", parameters_json_schema=text))
    else:
        request.response_format.json_schema.name = "s"
        request.response_format.json_schema.schema_json = text
    async with running_gateway(settings()) as gateway:
        error = await refusal(gateway, request)
        duration_ms = min([(await timed_refusal(gateway, request)) for _ in range(3)])
    assert reason_of(error) == "INVALID_REQUEST"
    assert bad_fields_of(error) == [field]
    violation = detail_of(error, error_details_pb2.BadRequest).field_violations[0]
    assert rule.upper() in violation.reason
    assert duration_ms <= LOOP_BLOCKED_S * 1000


async def timed_refusal(gateway: RunningGateway, request: Message) -> float:
    began_s = time.monotonic()
    await refusal(gateway, request)
    return (time.monotonic() - began_s) * 1000


async def test_c18_schemas_at_the_caps_are_taken() -> None:
    texts = [nested(32), '{"a":[' + "1," * 9_997 + "1]}"]
    async with running_gateway(settings()) as gateway:
        for text in texts:
            await gateway.stub.Complete(ask_simulator(tools=[tool_pb2.Tool(name="f", parameters_json_schema=text)]))


def many_messages(count: int) -> completion_pb2.CompleteRequest:
    request = ask_simulator()
    del request.messages[:]
    request.messages.extend(
        message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text="hello")]) for _ in range(count)
    )
    return request


def answered_call(known: bool) -> completion_pb2.CompleteRequest:
    request = ask_simulator()
    call = message_pb2.ToolCall(id="call-1", name="f", arguments_json="{}")
    request.messages.add(role=message_pb2.ROLE_ASSISTANT).parts.add().tool_call.CopyFrom(call)
    result = request.messages.add(role=message_pb2.ROLE_TOOL).parts.add().tool_result
    result.tool_call_id = "call-1" if known else "call-2"
    return request


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        pytest.param(many_messages(0), "messages", id="no-messages"),
        pytest.param(many_messages(10_001), "messages", id="10001-messages"),
        pytest.param(answered_call(known=False), "messages[2].parts[0].tool_result.tool_call_id", id="unknown-call"),
    ],
)
async def test_c19_refused_sizes(request_: completion_pb2.CompleteRequest, field: str) -> None:
    async with running_gateway(settings()) as gateway:
        error = await refusal(gateway, request_)
        assert records_of(gateway, "attempt") == []
    assert reason_of(error) == "INVALID_REQUEST"
    assert bad_fields_of(error) == [field]


LARGE = {
    "10000-messages": lambda: many_messages(10_000),
    "1M-characters": lambda: ask_simulator("x" * 1_000_000),
    "1M-spaces": lambda: ask_simulator(" " * 1_000_000),
    "known-call": lambda: answered_call(known=True),
    "4-MiB": lambda: ask_simulator("x" * (4 * 1024 * 1024)),
    "7-MiB": lambda: ask_simulator("x" * (7 * 1024 * 1024)),
}


@pytest.mark.parametrize("case", LARGE)
async def test_c19_accepted_sizes(case: str) -> None:
    async with running_gateway(settings()) as gateway:
        await gateway.stub.Complete(LARGE[case]())
        data = LARGE[case]().SerializeToString()
        blocked_s = []
        bound_s = PER_MIB_S * 7 if case == "7-MiB" else LOOP_BLOCKED_S
        for _ in range(8):  # the least counts: other processes may hold the loop up, the gateway always would
            async with LoopLag() as lag:
                error = await send(gateway, SERVICE + "Complete", data)
            assert error is None
            blocked_s.append(lag.worst_s)
            if lag.worst_s <= bound_s:
                break
    print(f"C19: {case} ({len(data) / 2**20:.2f} MiB) blocked the loop for {min(blocked_s) * 1000:.1f} ms")
    assert min(blocked_s) <= bound_s


async def test_c19_text_over_its_cap_is_refused() -> None:
    """Media may fill a message up to 16 MiB, text may not."""
    data = ask_simulator("x" * (9 * 1024 * 1024)).SerializeToString()
    async with running_gateway(settings()) as gateway:
        error = await send(gateway, SERVICE + "Complete", data)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error) == "REQUEST_TOO_LARGE"
