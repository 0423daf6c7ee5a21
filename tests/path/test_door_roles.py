"""Roles × RPCs: every RPC that is served, by every set of roles, over the wire. Allowed is what this table says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import chain, combinations
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.admission.authenticate import authorize_method
from llmgateway_server.admission.keys import NewKey, new_key
from llmgateway_server.core.errors import AccessError
from llmgateway_server.core.principal import Principal, Role
from llmgateway_server.core.secret import Secret
from llmgateway_server.transport import methods
from tests.faults.kit import reason_of
from tests.path.door_kit import OWN_POOL, RETRY_NOTHING, door, key_entry

OURS = "llmgateway.v1.LlmGatewayService"
ADMIN = "llmgateway.admin.v1.AdminService"
CALLERS, LOOKERS = {"caller", "operator", "admin"}, {"viewer", "operator", "admin"}
ANY_ROLE = CALLERS | LOOKERS
OPERATORS = {"operator", "admin"}
EVERYBODY = None
"""Without a key, too."""
TABLE: dict[str, set[str] | None] = {
    f"/{OURS}/Complete": CALLERS,
    f"/{OURS}/StreamComplete": CALLERS,
    f"/{OURS}/CountTokens": CALLERS,
    f"/{OURS}/Embed": CALLERS,
    f"/{OURS}/GenerateImage": CALLERS,
    f"/{OURS}/Health": LOOKERS,
    f"/{OURS}/Metrics": LOOKERS,
    f"/{OURS}/ListModels": ANY_ROLE,
    f"/{OURS}/GetModel": ANY_ROLE,
    f"/{ADMIN}/ExplainRoute": OPERATORS,
    f"/{ADMIN}/GetCircuitBreaker": OPERATORS,
    f"/{ADMIN}/SetTargetEnabled": OPERATORS,
    f"/{ADMIN}/TestProvider": OPERATORS,
    f"/{ADMIN}/ResetMetrics": OPERATORS,
    f"/{ADMIN}/WatchEvents": OPERATORS,
    "/grpc.health.v1.Health/Check": EVERYBODY,
    "/grpc.health.v1.Health/Watch": EVERYBODY,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": EVERYBODY,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": EVERYBODY,
}
NOT_SERVED = {"/grpc.health.v1.Health/List"}
ROLE_SETS = [set(each) for each in chain.from_iterable(combinations([str(role) for role in Role], n) for n in range(5))]


async def described(channel: grpc.aio.Channel) -> set[str]:
    """Returns every RPC of the services that reflection names, by its descriptors."""
    request = reflection_pb2.ServerReflectionRequest
    ask = channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=request.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )

    async def one(question: Any) -> Any:
        async def questions() -> AsyncIterator[Any]:
            yield question

        [answer] = [each async for each in ask(questions(), timeout=10)]
        return answer

    listed = (await one(request(list_services=""))).list_services_response.service
    found = set()
    for service in (each.name for each in listed):
        answer = await one(request(file_containing_symbol=service))
        for data in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(data)
            for each in file.service:
                found |= {f"/{file.package}.{each.name}/{method.name}" for method in each.method}
    return found


async def status_of(channel: grpc.aio.Channel, method: str, metadata: Any = ()) -> tuple[grpc.StatusCode, str]:
    """Calls an RPC with an empty message; returns how it ended and the reason."""
    call: Any = channel.unary_stream(method)
    call = call(b"", metadata=metadata, timeout=10)
    try:
        await call.read()
    except grpc.aio.AioRpcError as error:
        return error.code(), reason_of(error)
    call.cancel()
    return grpc.StatusCode.OK, ""


def refused(status: tuple[grpc.StatusCode, str]) -> bool:
    return status[0] in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)


async def test_every_rpc_by_every_set_of_roles() -> None:
    keys: list[tuple[set[str], NewKey]] = [(roles, new_key(Secret(""))) for roles in ROLE_SETS]
    entries = [key_entry(key, roles=sorted(roles)) for roles, key in keys]
    document = {"server": {"reflection": True}, "auth": {"keys": entries}, "throttle": {"failed_logins_burst": 1000}}
    async with (
        door(document) as served,
        grpc.aio.insecure_channel(served.address, options=(RETRY_NOTHING, OWN_POOL)) as channel,
    ):
        # Reflection describes itself by its older name only; the newer one is the same.
        assert await described(channel) | {m for m in TABLE if "reflection.v1." in m} == set(TABLE) | NOT_SERVED
        for method, allowed in TABLE.items():
            stranger = await status_of(channel, method)
            assert refused(stranger) == (allowed is not EVERYBODY), (method, stranger)
            for roles, key in keys:
                status = await status_of(channel, method, (("x-api-key", key.key.reveal()),))
                expected = allowed is EVERYBODY or bool(roles & allowed)
                assert refused(status) != expected, (method, roles, status)
                if not expected:
                    assert status == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED")
        for method in NOT_SERVED:
            assert (await status_of(channel, method))[0] is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    "method",
    [
        f"/{OURS}/complete",
        f"/{OURS}/Complete/",
        f"//{OURS}/Complete",
        f"/{OURS}/Complete?x=1",
        f"/{OURS}/%43omplete",
        f"/grpc.health.v1.Health/../{OURS}/Complete",
        f"/{OURS}/Health/Check",
        "/llmgateway.v1.Nothing/Complete",
        "/grpc.health.v1.Health/check",
    ],
)
async def test_a_method_is_what_was_dispatched(method: str) -> None:
    """No spelling reaches a handler by one name and the permissions by another."""
    document = {"auth": {"keys": [key_entry(new_key(Secret("")))]}}
    async with (
        door(document) as served,
        grpc.aio.insecure_channel(served.address, options=(RETRY_NOTHING, OWN_POOL)) as channel,
    ):
        assert (await status_of(channel, method))[0] in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAUTHENTICATED)


async def test_a_key_calls_the_rpcs_of_its_list_only() -> None:
    key = new_key(Secret(""))
    document = {"auth": {"keys": [key_entry(key, rpcs=["Complete", "Stream*", "Health"])]}}
    metadata = (("x-api-key", key.key.reveal()),)
    async with (
        door(document) as served,
        grpc.aio.insecure_channel(served.address, options=(RETRY_NOTHING, OWN_POOL)) as channel,
    ):
        got = {name: await status_of(channel, f"/{OURS}/{name}", metadata) for name in methods.LLM_GATEWAY}
    # Health is on the list, but nothing for a caller.
    assert {name for name, status in got.items() if not refused(status)} == {"Complete", "StreamComplete"}
    assert all(status[1] == "ROLE_REQUIRED" for status in got.values() if refused(status))


@given(
    roles=st.sets(st.sampled_from(list(Role))),
    rpcs=st.lists(
        st.sampled_from(["*", "Complete", "Stream*", "*Complete", "List*", "complete", "", "?ealth", "Test*"])
    ),
    method=st.sampled_from(sorted(methods.permissions())),
)
def test_lists_of_rpcs_only_take_away(roles: set[Role], rpcs: list[str], method: str) -> None:
    def allowed(patterns: tuple[str, ...]) -> bool:
        principal = Principal("k", "t", frozenset(roles), rpcs=patterns)
        try:
            authorize_method(principal, method, methods.permissions()[method])
        except AccessError:
            return False
        return True

    table = TABLE[method]
    assert table is not None
    assert allowed(("*",)) == bool({str(role) for role in roles} & table)
    assert allowed(("*",)) or not allowed(tuple(rpcs))
    assert not allowed(())
