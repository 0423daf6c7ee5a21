import pytest

from llmgateway.admin.v1 import admin_service_pb2
from llmgateway.v1 import llm_gateway_service_pb2
from llmgateway_server.core.principal import Permission
from llmgateway_server.testing.gateway import running_gateway
from llmgateway_server.transport import methods
from llmgateway_server.transport.methods import LLM_GATEWAY, Rpc
from llmgateway_server.transport.services.admin import AdminService
from llmgateway_server.transport.services.llm_gateway import LlmGatewayService

PROTOS = (llm_gateway_service_pb2, admin_service_pb2)
SERVED = {each.name: each for each in (LlmGatewayService, AdminService)}


def test_every_rpc_of_the_protos_is_served() -> None:
    services = [each for proto in PROTOS for each in proto.DESCRIPTOR.services_by_name.values()]
    assert {each.full_name for each in services} == set(SERVED) == set(methods.SERVICES)
    for service in services:
        descriptor, rpcs = methods.SERVICES[service.full_name]
        assert descriptor.full_name == service.full_name
        assert set(rpcs) == {method.name for method in service.methods}
        for rpc in rpcs.values():
            assert callable(getattr(SERVED[service.full_name], rpc.handler))
        for method in service.methods:
            assert f"/{service.full_name}/{method.name}" in methods.permissions()
    assert {name.rpartition("/")[2] for name in methods.streaming_methods()} == {
        "StreamComplete",
        "GenerateImage",
        "WatchEvents",
    }


async def test_an_rpc_without_a_permission_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(LLM_GATEWAY, "Embed")
    with pytest.raises(RuntimeError, match="Embed"):
        async with running_gateway():
            pass


def test_a_permission_without_an_rpc_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LLM_GATEWAY, "Nothing", Rpc("nothing", Permission.PUBLIC))
    with pytest.raises(RuntimeError, match="Nothing"):
        methods.permissions()
