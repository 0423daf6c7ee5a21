"""What every step of the call ring shares: wrapping a handler, once per method, and the scope that the steps fill."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any, ClassVar

import grpc
import grpc.aio

from llmgateway_server.core.calls import CallScope

SCOPE: ContextVar[CallScope] = ContextVar("llmgateway_call_scope")
"""The scope of the running call; grpc.aio runs interceptors and handler of a call in one task."""

Context = grpc.aio.ServicerContext[bytes, bytes]
Behaviour = Callable[[bytes, Context], Awaitable[bytes | None]]
NOTHING: AbstractContextManager[None] = nullcontext()

OURS = "/llmgateway."
"""Methods that the call ring guards; health and reflection have no secrets and must answer under load."""


class Step(grpc.aio.ServerInterceptor):
    """A step of the call ring.

    Handlers are wrapped once per method, not once per call. All our handlers take bytes: the request is decoded
    inside, so that no
    undecodable one is answered by the library (RELIABILITY §1.1).
    """

    name: ClassVar[str]
    why: ClassVar[str]

    def __init__(self) -> None:
        self._wrapped: dict[str, tuple[Any, Any]] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Returns the method's handler with this step around it."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(OURS):
            return self.unguarded(method, handler)
        known = self._wrapped.get(method)
        if known is None or known[0] is not handler:
            known = self._wrapped[method] = (handler, self._wrap(method, handler))
        return known[1]

    def unguarded(self, method: str, handler: Any) -> Any:
        """Returns the handler for a method that is not ours, or not there."""
        return handler

    @abstractmethod
    def around(self, scope: CallScope, context: Context) -> AbstractContextManager[None]:
        """Does the step's work before the call and returns what is to be done around the rest of it.

        Raises:
            GatewayError: the call is refused.
        """

    def behaviour(self, method: str, following: Behaviour) -> Behaviour:
        """Returns `following` with this step around it."""

        async def step(request: bytes, context: Context) -> bytes | None:
            with self.around(SCOPE.get(), context):
                return await following(request, context)

        return step

    def _wrap(self, method: str, handler: Any) -> Any:
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self.behaviour(method, handler.unary_stream))
        return grpc.unary_unary_rpc_method_handler(self.behaviour(method, handler.unary_unary))
