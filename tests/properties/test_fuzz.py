"""Whatever comes in, what goes out is a reply or a reason: never INTERNAL, never UNKNOWN, never bare."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import message_factory
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmgateway.v1 import embedding_pb2, llm_gateway_service_pb2, reply_pb2, tool_pb2
from tests.properties.loop import Bench, Refusal, ask, bench, refusal
from tests.properties.messages import filled

SERVICE = llm_gateway_service_pb2.DESCRIPTOR.services_by_name["LlmGatewayService"]
METHODS = {method.name: method for method in SERVICE.methods}
DEFECTS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
MAX_METADATA_BYTES = 6 * 1024
"""Safely below the soft limit of 8 KiB, above which the library may refuse by itself."""
TIMEOUT_S = 20

method_names = st.sampled_from(sorted(METHODS))


@pytest.fixture(scope="module")
def running() -> Iterator[Bench]:
    timeouts = {"first_token_s": 0.2, "idle_s": 0.2, "progress_s": 0.2}
    providers = {"simulator": {"vendor": "simulator"}}
    with bench({"providers": providers, "timeouts": timeouts, "screen": {"blocked_terms": ["forbidden"]}}) as made:
        yield made


async def send(
    running: Bench, path: str, data: bytes, *, streaming: bool = False, metadata: tuple[tuple[str, Any], ...] = ()
) -> tuple[list[bytes], Refusal | None]:
    """Sends bytes and returns what came, with the reason of the end if it was an error."""
    channel: Any = running.gateway.channel
    replies: list[bytes] = []
    try:
        if streaming:
            call = channel.unary_stream(path)(data, metadata=metadata, timeout=TIMEOUT_S)
            replies.extend([reply async for reply in call])
        else:
            replies.append(await channel.unary_unary(path)(data, metadata=metadata, timeout=TIMEOUT_S))
    except grpc.aio.AioRpcError as error:
        refused = error
    else:
        return replies, None
    assert refused.code() not in DEFECTS, f"{refused.code()}: {refused.details()}"
    return replies, refusal(refused)


async def send_to(running: Bench, name: str, data: bytes, **options: Any) -> tuple[list[bytes], Refusal | None]:
    method = METHODS[name]
    path = f"/{SERVICE.full_name}/{name}"
    replies, refused = await send(running, path, data, streaming=method.server_streaming, **options)
    for reply in replies:
        message_factory.GetMessageClass(method.output_type).FromString(reply)
    return replies, refused


def request_of(name: str) -> Message:
    made: Message = message_factory.GetMessageClass(METHODS[name].input_type)()
    return made


@settings(max_examples=150, deadline=None)
@given(name=method_names, data=st.binary(max_size=300))
def test_bytes(running: Bench, name: str, data: bytes) -> None:
    running.run(send_to(running, name, data))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data(), name=method_names)
def test_messages(running: Bench, data: st.DataObject, name: str) -> None:
    request = request_of(name)
    data.draw(filled(request))
    if name in ("Complete", "StreamComplete") and data.draw(st.booleans()):  # let more of them past the first rule
        del request.messages[:]  # type: ignore[attr-defined]
        request.MergeFrom(ask())
    running.run(send_to(running, name, request.SerializeToString()))


def valid(name: str) -> Message:
    request = request_of(name)
    schema = tool_pb2.JsonSchemaFormat(name="s", schema_json='{"type":"object"}')
    completion = ask("hi", "simulator/chat?tokens=2", response_format=tool_pb2.ResponseFormat(json_schema=schema))
    completion.tools.add(name="lookup", parameters_json_schema='{"type":"object"}')
    completion.routing.preferred_providers.append("simulator")
    match name:
        case "Complete" | "StreamComplete":
            request.MergeFrom(completion)
        case "CountTokens":
            request.request.MergeFrom(completion)  # type: ignore[attr-defined]
        case "Embed":
            request.MergeFrom(embedding_pb2.EmbedRequest(inputs=["a", "b"], dimensions=4))
        case "GetModel":
            request.name = "simulator-chat"  # type: ignore[attr-defined]
        case "GenerateImage":
            request.prompt = "a cat"  # type: ignore[attr-defined]
    return request


@settings(max_examples=250, deadline=None)
@given(name=method_names, seed=st.integers(0, 2**32), cuts=st.integers(1, 6))
def test_valid_messages_with_bytes_changed(running: Bench, name: str, seed: int, cuts: int) -> None:
    rng = random.Random(seed)
    data = bytearray(valid(name).SerializeToString() or b"\x08\x01")
    for _ in range(cuts):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0 if data:
                data[place % len(data)] = rng.randrange(256)
            case 1:
                data[place:place] = rng.randbytes(rng.randrange(1, 5))
            case 2:
                del data[place : place + rng.randrange(1, 5)]
            case _ if data:
                data[place % len(data)] ^= 1 << rng.randrange(8)
    running.run(send_to(running, name, bytes(data)))


key_chars = st.characters(codec="ascii", categories=("Ll", "Nd"), include_characters="-_.")
keys = st.one_of(
    st.sampled_from(["authorization", "x-api-key", "traceparent", "tracestate", "baggage", "x-request-id"]),
    st.text(key_chars, min_size=1, max_size=20).filter(lambda key: not key.startswith("grpc-")),
)
ascii_values = st.one_of(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60),
    st.sampled_from(["Bearer ", "Bearer lgw_a_b_c", "00-" + "0" * 32 + "-" + "0" * 16 + "-00", "x" * 4000]),
)
pairs = st.one_of(
    st.tuples(keys.filter(lambda key: not key.endswith("-bin")), ascii_values),
    st.tuples(keys.map(lambda key: f"{key}-bin"), st.binary(max_size=200)),
)


@settings(max_examples=150, deadline=None)
@given(name=method_names, metadata=st.lists(pairs, max_size=8))
def test_metadata(running: Bench, name: str, metadata: list[tuple[str, Any]]) -> None:
    size = 0
    kept = []
    for key, value in metadata:
        size += len(key) + 2 * len(value) + 32
        if size < MAX_METADATA_BYTES:
            kept.append((key, value))
    running.run(send_to(running, name, valid(name).SerializeToString(), metadata=tuple(kept)))


def test_metadata_over_the_hard_limit_is_the_one_refusal_of_the_library(running: Bench) -> None:
    async def run() -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.gateway.stub.Complete(ask(), metadata=(("x-huge", "a" * 40_000),))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await running.gateway.stub.Complete(ask())  # the connection goes on

    running.run(run())


path_chars = st.characters(codec="ascii", categories=("L", "N"), include_characters="._-/")
paths = st.one_of(
    st.text(path_chars, max_size=30).map(lambda rest: f"/{rest}"),
    st.text(path_chars, max_size=30).map(lambda rest: f"/{SERVICE.full_name}/{rest}"),
    st.sampled_from(["/grpc.health.v1.Health/Nothing", "/llmgateway.v2.LlmGatewayService/Other", "/a/" + "b" * 3000]),
).filter(lambda path: path.rpartition("/")[2] not in METHODS and "/Check" not in path)


@settings(max_examples=60, deadline=None)
@given(path=paths, streaming=st.booleans(), data=st.binary(max_size=10))
def test_methods_that_nobody_serves(running: Bench, path: str, *, streaming: bool, data: bytes) -> None:
    replies, refused = running.run(send(running, path, data, streaming=streaming))
    assert replies == []
    assert refused is not None
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED")


def test_an_unknown_field_is_answered_with_a_bounded_notice(running: Bench) -> None:
    tags = range(80_000, 400_000, 8)
    unknown = b"".join(bytes([tag & 0x7F | 0x80, tag >> 7 & 0x7F | 0x80, tag >> 14, 0]) for tag in tags)
    replies, refused = running.run(send_to(running, "Complete", ask().SerializeToString() + unknown))
    assert refused is None
    notices = reply_pb2.CompleteResponse.FromString(replies[0]).notices
    assert {notice.code for notice in notices} == {reply_pb2.NOTICE_CODE_UNKNOWN_FIELDS}
    assert 0 < len(notices) <= 20


@pytest.mark.parametrize("field", ["model", "end_user_id"])
@pytest.mark.parametrize("character", ["é", "😀", "\u202e"])
def test_the_longest_names_leave_room_for_the_reason(running: Bench, field: str, character: str) -> None:
    request = ask(**{field: character * 255})
    request.model = request.model or character * 255
    _, refused = running.run(send_to(running, "Complete", request.SerializeToString()))
    assert refused is not None
    assert refused.reason == "MODEL_NOT_FOUND"


def test_every_bad_field_is_named_as_far_as_they_fit(running: Bench) -> None:
    request = ask()
    for _ in range(200):
        request.tools.add(name="é" * 100)
    _, refused = running.run(send_to(running, "Complete", request.SerializeToString()))
    assert refused is not None
    assert refused.reason == "INVALID_REQUEST"


def test_vectors_that_no_message_could_hold(running: Bench) -> None:
    request = embedding_pb2.EmbedRequest(inputs=["a"] * 2048, dimensions=16384)
    _, refused = running.run(send_to(running, "Embed", request.SerializeToString()))
    assert refused is not None
    assert refused.reason == "REQUEST_TOO_LARGE"
