"""What every step of the call ring shares: wrapping a handler, once per method, and the scope that the steps fill."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, ClassVar, NoReturn, Protocol

import grpc
import grpc.aio

from llmgateway_server.core.calls import CallScope
from llmgateway_server.observe.trace import NOTHING
from llmgateway_server.transport.services.standard import PUBLIC_METHODS

SCOPE: ContextVar[CallScope] = ContextVar("llmgateway_call_scope")
"""The scope of the running call; grpc.aio runs interceptors and handler of a call in one task."""


class Context(Protocol):
    """What a transport tells of a call, and does for it: as much of grpc.aio's context as steps and services use."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """Returns the caller's metadata."""

    def peer(self) -> str:
        """Returns where the caller is, as `ipv4:127.0.0.1:5000`, `ipv6:…` or `unix:…`."""

    def auth_context(self) -> Mapping[str, Any]:
        """Returns what the handshake of TLS verified."""

    def time_remaining(self) -> float | None:
        """Returns the seconds until the caller's deadline; None where it set none."""

    def set_trailing_metadata(self, trailing_metadata: tuple[tuple[str, str | bytes], ...], /) -> None:
        """Sets what goes with a good end."""

    async def write(self, message: bytes, /) -> None:
        """Sends a message of a streamed reply, and waits for a caller who does not read."""

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: tuple[tuple[str, str | bytes], ...] = ()
    ) -> NoReturn:
        """Ends the call with a status."""


Behaviour = Callable[[bytes, Context], Awaitable[bytes | None]]


class Step(grpc.aio.ServerInterceptor):
    """A step of the call ring.

    Handlers are wrapped once per method, not once per call. All our handlers take bytes: the request is decoded inside,
    so that no undecodable one is answered by the library (docs/reliability.md).
    """

    name: ClassVar[str]
    why: ClassVar[str]

    def __init__(self) -> None:
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Returns the method's handler with this step around it; the inner steps are asked once per method only."""
        method = handler_call_details.method
        known = self._wrapped.get(method)
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None or method in PUBLIC_METHODS:
            return self.unguarded(method, handler)
        wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def unguarded(self, method: str, handler: Any) -> Any:
        """Returns the handler for a method that is public, or not there."""
        return handler

    @abstractmethod
    def behaviour(self, method: str, following: Behaviour) -> Behaviour:
        """Returns `following` with this step around it."""

    def _wrap(self, method: str, handler: Any) -> Any:
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self.behaviour(method, handler.unary_stream))
        return grpc.unary_unary_rpc_method_handler(self.behaviour(method, handler.unary_unary))


class Check(Step):
    """A step that does its work before the call and holds nothing while it runs."""

    @abstractmethod
    def check(self, scope: CallScope, context: Context) -> None:
        """Does the work.

        Raises:
            GatewayError: the call is refused.
        """

    def behaviour(self, method: str, following: Behaviour) -> Behaviour:
        """See `Step.behaviour`."""

        def step(request: bytes, context: Context) -> Awaitable[bytes | None]:
            self.check(SCOPE.get(), context)
            return following(request, context)

        return step


class Hold(Step):
    """A step that holds something while the call runs."""

    @abstractmethod
    def hold(self, scope: CallScope) -> AbstractContextManager[None]:
        """Returns what is held.

        Raises:
            GatewayError: the call is refused.
        """

    def behaviour(self, method: str, following: Behaviour) -> Behaviour:
        """See `Step.behaviour`."""

        async def inside(held: AbstractContextManager[None], request: bytes, context: Context) -> bytes | None:
            with held:
                return await following(request, context)

        def step(request: bytes, context: Context) -> Awaitable[bytes | None]:
            held = self.hold(SCOPE.get())
            return following(request, context) if held is NOTHING else inside(held, request, context)

        return step
