"""The Python client of LLM Gateway: `Client`, `AsyncClient`, those of operators, and what they take and give.

The generated stubs, the contract itself, are in `llmgateway.v1` and `llmgateway.admin.v1`; typed events of streams in
`llmgateway.events`.
"""

from llmgateway.admin_client import AdminClient, AsyncAdminClient
from llmgateway.async_client import AsyncClient
from llmgateway.async_stream import AsyncStream
from llmgateway.client import Client
from llmgateway.errors import (
    Aborted,
    BrokenStream,
    Cancelled,
    ContentBlocked,
    DeadlineExceeded,
    FailedPrecondition,
    GatewayError,
    InternalError,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    QuotaExhausted,
    RateLimited,
    ResourceExhausted,
    StreamInterrupted,
    Unauthenticated,
    Unavailable,
    Unsupported,
    UpstreamFailed,
    Violation,
)
from llmgateway.messages import media
from llmgateway.reply import Embeddings, Reply, ToolCall
from llmgateway.stream import Stream
from llmgateway.version import __version__

__all__ = [
    "Aborted",
    "AdminClient",
    "AsyncAdminClient",
    "AsyncClient",
    "AsyncStream",
    "BrokenStream",
    "Cancelled",
    "Client",
    "ContentBlocked",
    "DeadlineExceeded",
    "Embeddings",
    "FailedPrecondition",
    "GatewayError",
    "InternalError",
    "InvalidRequest",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "QuotaExhausted",
    "RateLimited",
    "Reply",
    "ResourceExhausted",
    "Stream",
    "StreamInterrupted",
    "ToolCall",
    "Unauthenticated",
    "Unavailable",
    "Unsupported",
    "UpstreamFailed",
    "Violation",
    "__version__",
    "media",
]
