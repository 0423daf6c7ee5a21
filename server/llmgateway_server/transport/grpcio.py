"""gRPC by the gRPC library: the default transport."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from llmgateway_server.transport.listen import UNIX, ListenError, Reservation
from llmgateway_server.transport.tls import Certificate, CertificateFiles, TlsSettings

if TYPE_CHECKING:
    from llmgateway_server.transport.server import ServerSettings


def options(settings: ServerSettings, max_streams: int) -> list[tuple[str, Any]]:
    """Returns the channel arguments: every limit is set, none is left to the library."""
    return [
        ("grpc.max_concurrent_streams", max_streams),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_metadata_size", 8 * 1024),
        ("grpc.absolute_max_metadata_size", 16 * 1024),
        ("grpc.max_connection_idle_ms", round(settings.max_connection_idle_s * 1000)),
        ("grpc.max_connection_age_ms", round(settings.max_connection_age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", 600_000),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),  # the library waits this long for a keepalive's answer, 60 s if unset
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.so_reuseport", int(settings.workers > 1)),
    ]


def credentials(settings: TlsSettings) -> grpc.ServerCredentials:
    """Returns the library's credentials, which follow the files.

    Raises:
        TlsError: as `CertificateFiles.load`.
    """
    files = CertificateFiles(settings, _configuration)
    # The library takes None for "as before", which its types do not say.
    changed: Callable[[], Any] = files.changed
    return grpc.dynamic_ssl_server_credentials(files.load(), changed, bool(settings.client_ca))


def _configuration(found: Certificate) -> Any:
    return grpc.ssl_server_certificate_configuration([(found.key, found.chain)], root_certificates=found.roots)


class GrpcioTransport:
    """See `server.Transport`.

    Args:
        settings: of the door.
        call_ring: interceptors, outermost first.
        handlers: `grpc.GenericRpcHandler`s.
        max_streams: calls at once of one connection.

    Raises:
        TlsError: the files of `settings.tls` cannot be used.
    """

    def __init__(
        self, settings: ServerSettings, call_ring: Sequence[Any], handlers: Sequence[Any], max_streams: int
    ) -> None:
        self._workers = settings.workers
        self._credentials = credentials(settings.tls) if settings.tls is not None else None
        self._server = grpc.aio.server(interceptors=tuple(call_ring), options=options(settings, max_streams))
        self._server.add_generic_rpc_handlers(tuple(handlers))

    async def start(self, listen: str) -> int:
        """See `server.Transport.start`."""
        try:
            port = self._bind(listen)
        except RuntimeError as error:
            if not listen.startswith(UNIX) and self._workers == 1:  # the address of several is held by their parent
                Reservation(listen).close()  # says why: the library keeps it for itself
            raise ListenError(listen) from error
        await self._server.start()
        return port

    async def stop(self, grace_s: float) -> None:
        """See `server.Transport.stop`."""
        await self._server.stop(grace_s)

    def _bind(self, listen: str) -> int:
        if self._credentials is not None:
            return self._server.add_secure_port(listen, self._credentials)
        return self._server.add_insecure_port(listen)
