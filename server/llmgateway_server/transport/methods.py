"""Every RPC of ours: what it needs, and whether it streams. One that is missing here stops the start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc

from llmgateway.admin.v1 import admin_service_pb2
from llmgateway.v1 import llm_gateway_service_pb2
from llmgateway_server.core.principal import Permission
from llmgateway_server.transport.services.admin import AdminService
from llmgateway_server.transport.services.llm_gateway import LlmGatewayService


@dataclass(slots=True, frozen=True)
class Rpc:
    """One RPC: the handler is the service's method of this name."""

    handler: str
    permission: Permission


LLM_GATEWAY: dict[str, Rpc] = {
    "Complete": Rpc("complete", Permission.CALL),
    "StreamComplete": Rpc("stream_complete", Permission.CALL),
    "Health": Rpc("health", Permission.STATUS_READ),
    "Metrics": Rpc("metrics", Permission.STATUS_READ),
    "CountTokens": Rpc("count_tokens", Permission.CALL),
    "Embed": Rpc("embed", Permission.CALL),
    "GenerateImage": Rpc("generate_image", Permission.CALL),
    "ListModels": Rpc("list_models", Permission.MODELS_READ),
    "GetModel": Rpc("get_model", Permission.MODELS_READ),
}

ADMIN: dict[str, Rpc] = {
    "ExplainRoute": Rpc("explain_route", Permission.OPERATE),
    "GetCircuitBreaker": Rpc("get_circuit_breaker", Permission.OPERATE),
    "SetTargetEnabled": Rpc("set_target_enabled", Permission.OPERATE),
    "TestProvider": Rpc("test_provider", Permission.OPERATE),
    "ResetMetrics": Rpc("reset_metrics", Permission.OPERATE),
    "WatchEvents": Rpc("watch_events", Permission.OPERATE),
}

SERVICES = {
    LlmGatewayService.name: (llm_gateway_service_pb2.DESCRIPTOR.services_by_name["LlmGatewayService"], LLM_GATEWAY),
    AdminService.name: (admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"], ADMIN),
}


def permissions() -> dict[str, Permission]:
    """Returns what each method needs, by `/package.Service/Method`.

    Raises:
        RuntimeError: a method of the protos has no entry, or an entry has no method.
    """
    found = {}
    for service, (descriptor, rpcs) in SERVICES.items():
        declared = {method.name for method in descriptor.methods}
        if declared != set(rpcs):
            raise RuntimeError(
                f"RPCs of {service} without a permission, or permissions without an RPC: {declared ^ set(rpcs)}"
            )
        found.update({f"/{service}/{name}": rpc.permission for name, rpc in rpcs.items()})
    return found


def streaming_methods() -> frozenset[str]:
    """Returns the methods whose reply streams."""
    return frozenset(
        f"/{service}/{method.name}"
        for service, (descriptor, _) in SERVICES.items()
        for method in descriptor.methods
        if method.server_streaming
    )


def handler(service: Any) -> grpc.GenericRpcHandler:
    """Returns the handlers of a service, from bytes to bytes."""
    descriptor, rpcs = SERVICES[service.name]
    handlers: dict[str, Any] = {}
    for method in descriptor.methods:
        make = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
        handlers[method.name] = make(getattr(service, rpcs[method.name].handler))
    return grpc.method_handlers_generic_handler(service.name, handlers)
