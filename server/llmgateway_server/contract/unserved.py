"""What the contract promises and this server does not serve yet: refused by name, never ignored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llmgateway.v1 import completion_pb2
from llmgateway_server.core.errors import RequestError, Violation
from llmgateway_server.core.reasons import Reason

_SERVED_CACHE = (completion_pb2.CACHE_MODE_UNSPECIFIED, completion_pb2.CACHE_MODE_OFF)
_SERVED_PRIORITY = (completion_pb2.PRIORITY_UNSPECIFIED, completion_pb2.PRIORITY_INTERACTIVE)

Rows = Mapping[str, tuple[tuple[str, Callable[[Any], bool]], ...]]
"""By field of the request: paths from there, and whether the field's value asks for what stands there."""

_SHARED: Rows = {
    "limits": ((".max_cost_nano_usd", lambda limits: limits.HasField("max_cost_nano_usd")),),
    "priority": (("", lambda priority: priority not in _SERVED_PRIORITY),),
}
COMPLETION: Rows = {
    "cache": (
        (".mode", lambda cache: cache.mode not in _SERVED_CACHE),
        (".similarity_threshold", lambda cache: cache.HasField("similarity_threshold")),
        (".ttl_s", lambda cache: cache.HasField("ttl_s")),
    ),
    "idempotency_key": (("", bool),),
    "conversation_id": (("", bool),),
    "stream_options": ((".heartbeat_interval_ms", lambda options: options.HasField("heartbeat_interval_ms")),),
    "provider_options": ((".raw_json", lambda options: bool(options.raw_json)),),
    **_SHARED,
}
EMBEDDING: Rows = _SHARED


def refuse_unserved(present: Mapping[str, Any], rows: Rows, prefix: str = "") -> None:
    """Raises FEATURE_NOT_CONFIGURED with every field that asks for something this server does not have.

    Args:
        present: the fields of the request that are set.
        rows: what is not served.
        prefix: path of the request inside the message that was sent, with its dot.
    """
    asked = [
        prefix + name + path for name, value in present.items() for path, asks in rows.get(name, ()) if asks(value)
    ]
    if asked:
        found = tuple(Violation(path, "is not served by this gateway", "feature_not_configured") for path in asked)
        raise RequestError(Reason.FEATURE_NOT_CONFIGURED, slots={"feature": asked[0]}, violations=found)
