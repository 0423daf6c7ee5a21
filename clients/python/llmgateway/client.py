"""The blocking client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc

from llmgateway.channel import connection
from llmgateway.messages import MessagesLike
from llmgateway.reply import Embeddings, Reply
from llmgateway.requests import CompleteOptions, Period, Purpose, complete_request, embed_request, metrics_request
from llmgateway.status import translated
from llmgateway.stream import Stream
from llmgateway.v1 import completion_pb2, model_pb2, status_pb2, token_count_pb2
from llmgateway.v1.llm_gateway_service_pb2_grpc import LlmGatewayServiceStub
from llmgateway.version import USER_AGENT

R = TypeVar("R")


class Client:
    """Calls a gateway; threads may share it. Every method raises `GatewayError`, and nothing of grpc's own.

    Args:
        target: as gRPC names it, for example `localhost:50051`, `dns:///gateway:50051`, `unix:/run/llmgateway.sock`.
            Default: `LLMGATEWAY_TARGET`, else `localhost:50051`.
        api_key: default: `LLMGATEWAY_API_KEY`. Empty: none.
        tls: default: not on this machine (loopback, Unix sockets), but everywhere else.
        ca: file of certificates (PEM) to trust instead of the usual ones; means TLS.
        client_cert: files (PEM) of the client's own certificate chain and its key; means TLS.
        insecure: plaintext beyond this machine, key and all. Only where the way itself is safe.
        timeout: seconds for a unary call, unless it says otherwise.
        stream_timeout: seconds for a whole stream, unless it says otherwise.
        interceptors: of `grpc`, the first one outermost.

    Raises:
        ValueError: a key would travel in plaintext, or the arguments contradict each other.
        OSError: a certificate cannot be read.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        api_key: str | None = None,
        tls: bool | None = None,
        ca: str | Path | None = None,
        client_cert: tuple[str | Path, str | Path] | None = None,
        insecure: bool = False,
        timeout: float = 60.0,
        stream_timeout: float = 600.0,
        interceptors: Sequence[Any] = (),
    ) -> None:
        reached = connection(
            target, api_key=api_key, tls=tls, ca=ca, client_cert=client_cert, insecure=insecure, user_agent=USER_AGENT
        )
        self.target = reached.target
        self._metadata = reached.metadata
        self._timeout = timeout
        self._stream_timeout = stream_timeout
        self._channel = (
            grpc.insecure_channel(reached.target, reached.options)
            if reached.credentials is None
            else grpc.secure_channel(reached.target, reached.credentials, reached.options)
        )
        self._intercepted = grpc.intercept_channel(self._channel, *interceptors)
        self._open_stub = LlmGatewayServiceStub(self._intercepted)
        self._closed = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections; calls that still run end as `Cancelled`."""
        self._closed = True
        self._channel.close()

    def complete(
        self,
        model: str = "",
        messages: MessagesLike = (),
        *,
        request: completion_pb2.CompleteRequest | None = None,
        timeout: float | None = None,
        **options: Unpack[CompleteOptions],
    ) -> Reply:
        """Answers a conversation in one piece.

        Args:
            model: public name or pinned `provider/model`. Empty: the gateway's default.
            messages: a text, or messages as `llmgateway.messages` takes them.
            request: a whole request instead of everything else.
            timeout: seconds. None: the client's.
            options: as `CompleteOptions`.

        Raises:
            GatewayError: the call failed.
            TypeError, ValueError: the arguments make no request.
        """
        wanted = complete_request(model, messages, request=request, options=options)
        return Reply(self._unary(self._stub.Complete, wanted, timeout))

    def stream(
        self,
        model: str = "",
        messages: MessagesLike = (),
        *,
        request: completion_pb2.CompleteRequest | None = None,
        timeout: float | None = None,
        **options: Unpack[CompleteOptions],
    ) -> Stream:
        """Answers a conversation as a stream of events; arguments are those of `complete`."""
        wanted = complete_request(model, messages, request=request, options=options)
        seconds = self._stream_timeout if timeout is None else timeout
        with translated():
            return Stream(self._stub.StreamComplete(wanted, timeout=seconds, metadata=self._metadata))

    def count_tokens(
        self,
        model: str = "",
        messages: MessagesLike = (),
        *,
        request: completion_pb2.CompleteRequest | None = None,
        timeout: float | None = None,
        **options: Unpack[CompleteOptions],
    ) -> token_count_pb2.CountTokensResponse:
        """Counts the input tokens of a completion without running it; arguments are those of `complete`."""
        wanted = complete_request(model, messages, request=request, options=options)
        return self._unary(self._stub.CountTokens, token_count_pb2.CountTokensRequest(request=wanted), timeout)

    def embed(
        self,
        model: str,
        inputs: str | Iterable[str],
        *,
        dimensions: int | None = None,
        purpose: Purpose | None = None,
        timeout: float | None = None,
    ) -> Embeddings:
        """Makes a vector of each text.

        Args:
            model: public name or pinned `provider/model`. Empty: the gateway's default for embeddings.
            inputs: 1 to 2,048 texts, none empty.
            dimensions: length of the vectors, where the model can choose.
            purpose: what they are for, where the vendor tells uses apart.
            timeout: seconds. None: the client's.
        """
        wanted = embed_request(model, inputs, dimensions=dimensions, purpose=purpose)
        return Embeddings(self._unary(self._stub.Embed, wanted, timeout))

    def models(self, *, provider: str = "", timeout: float | None = None) -> list[model_pb2.Model]:
        """Lists the models that the caller may use, by name.

        Args:
            provider: only this provider's. Empty: all.
            timeout: seconds for each page. None: the client's.
        """
        found: list[model_pb2.Model] = []
        request = model_pb2.ListModelsRequest(provider=provider)
        while True:
            page = self._unary(self._stub.ListModels, request, timeout)
            found.extend(page.models)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def model(self, name: str, *, timeout: float | None = None) -> model_pb2.Model:
        """Describes one model; an unknown one is `NotFound` with `alternatives`."""
        return self._unary(self._stub.GetModel, model_pb2.GetModelRequest(name=name), timeout).model

    def health(self, *, provider: str = "", timeout: float | None = None) -> status_pb2.HealthResponse:
        """Tells how the gateway and its providers, or one of them, are."""
        return self._unary(self._stub.Health, status_pb2.HealthRequest(provider=provider), timeout)

    def metrics(
        self, *, provider: str = "", period: Period | None = None, timeout: float | None = None
    ) -> status_pb2.MetricsResponse:
        """Tells figures of the gateway's process, over a period or since its start."""
        return self._unary(self._stub.Metrics, metrics_request(provider, period), timeout)

    @property
    def _stub(self) -> LlmGatewayServiceStub:
        self._opened_channel()
        return self._open_stub

    def _opened_channel(self) -> grpc.Channel:
        """Returns the channel with its interceptors."""
        if self._closed:
            raise RuntimeError("the client is closed")
        return self._intercepted

    def _unary(self, method: Callable[..., R], request: object, timeout: float | None) -> R:
        seconds = self._timeout if timeout is None else timeout
        with translated():
            return method(request, timeout=seconds, metadata=self._metadata)
