"""Servers of a few lines, for what a real gateway does not do on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from llmgateway.v1 import completion_pb2, message_pb2, reply_pb2

SERVICE = "llmgateway.v1.LlmGatewayService"

Complete = Callable[[completion_pb2.CompleteRequest, grpc.ServicerContext], reply_pb2.CompleteResponse]
Stream = Callable[[completion_pb2.CompleteRequest, grpc.ServicerContext], Iterator[reply_pb2.StreamCompleteResponse]]


def no_complete(request: completion_pb2.CompleteRequest, context: grpc.ServicerContext) -> reply_pb2.CompleteResponse:
    context.abort(grpc.StatusCode.UNIMPLEMENTED, "not here")


def no_stream(
    request: completion_pb2.CompleteRequest, context: grpc.ServicerContext
) -> Iterator[reply_pb2.StreamCompleteResponse]:
    context.abort(grpc.StatusCode.UNIMPLEMENTED, "not here")


@contextmanager
def served(
    complete: Complete = no_complete,
    stream: Stream = no_stream,
    *,
    credentials: grpc.ServerCredentials | None = None,
    address: str = "localhost:0",
) -> Iterator[str]:
    """Serves two methods on a free port of loopback; yields the target."""
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Complete": grpc.unary_unary_rpc_method_handler(
            complete, completion_pb2.CompleteRequest.FromString, reply_pb2.CompleteResponse.SerializeToString
        ),
        "StreamComplete": grpc.unary_stream_rpc_method_handler(
            stream, completion_pb2.CompleteRequest.FromString, reply_pb2.StreamCompleteResponse.SerializeToString
        ),
    }
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port = (
            server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
        )
        server.start()
        try:
            yield address if address.startswith("unix:") else f"localhost:{port}"
        finally:
            server.stop(0).wait()


def text_reply(text: str) -> reply_pb2.CompleteResponse:
    return reply_pb2.CompleteResponse(parts=[message_pb2.Part(text=text)])
