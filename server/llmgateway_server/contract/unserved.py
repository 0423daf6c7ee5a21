"""What the contract promises and this server does not serve yet: refused by name, never ignored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmgateway.v1 import completion_pb2, routing_pb2
from llmgateway_server.core.errors import RequestError, Violation
from llmgateway_server.core.reasons import Reason

_SERVED_STRATEGIES = (routing_pb2.ROUTING_STRATEGY_UNSPECIFIED, routing_pb2.ROUTING_STRATEGY_PRIORITY)
_SERVED_MID_STREAM = (routing_pb2.MID_STREAM_POLICY_UNSPECIFIED, routing_pb2.MID_STREAM_POLICY_FAIL)
_SERVED_CACHE = (completion_pb2.CACHE_MODE_UNSPECIFIED, completion_pb2.CACHE_MODE_OFF)
_SERVED_PRIORITY = (completion_pb2.PRIORITY_UNSPECIFIED, completion_pb2.PRIORITY_INTERACTIVE)

Rows = tuple[tuple[str, Callable[[Any], bool]], ...]

ROUTING: Rows = (
    ("strategy", lambda routing: routing.strategy not in _SERVED_STRATEGIES),
    ("required_capabilities", lambda routing: bool(routing.required_capabilities)),
    ("hedge", lambda routing: routing.HasField("hedge")),
    ("mid_stream_policy", lambda routing: routing.mid_stream_policy not in _SERVED_MID_STREAM),
    ("session_affinity_key", lambda routing: bool(routing.session_affinity_key)),
    ("tags", lambda routing: bool(routing.tags)),
)
LIMITS: Rows = (("max_cost_nano_usd", lambda limits: limits.HasField("max_cost_nano_usd")),)
COMPLETION: Rows = (
    ("cache.mode", lambda request: request.cache.mode not in _SERVED_CACHE),
    ("cache.similarity_threshold", lambda request: request.cache.HasField("similarity_threshold")),
    ("cache.ttl_s", lambda request: request.cache.HasField("ttl_s")),
    ("idempotency_key", lambda request: bool(request.idempotency_key)),
    ("conversation_id", lambda request: bool(request.conversation_id)),
    ("priority", lambda request: request.priority not in _SERVED_PRIORITY),
    ("stream_options.heartbeat_interval_ms", lambda request: request.stream_options.HasField("heartbeat_interval_ms")),
    ("provider_options.raw_json", lambda request: bool(request.provider_options.raw_json)),
)
EMBEDDING: Rows = (("priority", lambda request: request.priority not in _SERVED_PRIORITY),)


def refuse_unserved(request: Any, rows: Rows, prefix: str = "") -> None:
    """Raises FEATURE_NOT_CONFIGURED with every field that asks for something this server does not have.

    Args:
        request: a CompleteRequest or EmbedRequest message.
        rows: of the request's own fields; routing and limits are looked at for all.
        prefix: path of the request inside the message that was sent, with its dot.
    """
    asked = [path for path, asks in rows if asks(request)]
    if request.HasField("routing"):
        asked += [f"routing.{path}" for path, asks in ROUTING if asks(request.routing)]
    if request.HasField("limits"):
        asked += [f"limits.{path}" for path, asks in LIMITS if asks(request.limits)]
    if asked:
        found = tuple(
            Violation(prefix + path, "is not served by this gateway", "feature_not_configured") for path in asked
        )
        raise RequestError(Reason.FEATURE_NOT_CONFIGURED, slots={"feature": prefix + asked[0]}, violations=found)
