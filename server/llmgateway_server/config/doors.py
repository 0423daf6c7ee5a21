"""What the two doors need beside settings that are well formed: files, a token, an installed extra."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath

from llmgateway_server.config.mistakes import ConfigError, Mistake, Path
from llmgateway_server.config.secrets import resolve_secret
from llmgateway_server.core.secret import Secret
from llmgateway_server.http.settings import HttpSettings
from llmgateway_server.transport.tls import CertificateFiles, TlsError, TlsSettings

MIN_TOKEN_CHARS = 16
"""Of the token for metrics: nothing slows down whoever guesses."""
TLS: Path = ("server", "tls")
PLAINTEXT = (
    "beyond loopback everybody on the way reads keys and prompts: set server.tls, or server.insecure (--insecure) if"
    " something in front of the gateway has TLS"
)


def check_http_extra() -> None:
    """Checks that the HTTP door's packages are installed.

    Raises:
        ConfigError: one is not.
    """
    try:
        import llmgateway_server.http.door
        import llmgateway_server.http.pages  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"http.listen: the extra `http` is not installed, there is no {error.name}") from None


def metrics_token(settings: HttpSettings, environment: Mapping[str, str]) -> Secret:
    """Returns the token for metrics; empty where none is configured.

    Raises:
        ConfigError: the reference leads nowhere, or the token is too short.
    """
    token = resolve_secret(settings.metrics_token, environment, "http.metrics_token")
    if token and len(token.reveal()) < MIN_TOKEN_CHARS:
        raise ConfigError(f"http.metrics_token: must have at least {MIN_TOKEN_CHARS} characters")
    return token


def tls_mistakes(settings: TlsSettings) -> Iterator[Mistake]:
    """Yields each file that cannot be read; where all can, what is wrong with them together."""
    files = {"certificate": settings.certificate, "key": settings.key, "client_ca": settings.client_ca}
    unreadable = [field for field, path in files.items() if path and not _readable(FilePath(path))]
    for field in unreadable:
        yield Mistake((*TLS, field), f"the file {files[field]} cannot be read")
    if not unreadable:
        try:
            CertificateFiles(settings, lambda _: None).load()
        except TlsError as error:
            yield Mistake.told(str(error), *((*TLS, field) for field in files), TLS)


def _readable(path: FilePath) -> bool:
    try:
        with path.open("rb"):
            return True
    except (OSError, ValueError):
        return False
