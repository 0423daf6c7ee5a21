"""What must fit together across sections.

It looks at data that may have other mistakes, so that all are told at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from llmgateway_server.config.mistakes import Mistake, Path, nearest
from llmgateway_server.transport import methods
from llmgateway_server.transport.listen import check, is_local
from llmgateway_server.transport.server import ServerSettings

NAME = "^[a-zA-Z0-9_.-]{1,64}$"
UPSTREAM_MODEL = r"^[^\x00-\x1f]{1,255}$"


def mistakes(data: Any) -> Iterator[Mistake]:
    """Yields what does not fit together.

    Args:
        data: settings as they stand in a document; what is of the wrong kind is passed over.
    """
    providers = _names(data, "providers")
    for name in providers:
        if re.fullmatch(NAME, str(name)) is None:
            yield Mistake(("providers", str(name)), f"a provider's name must match {NAME}")
    for name, model in _names(data, "models").items():
        yield from _model(("models", str(name)), model, providers)
    yield from _callers(data)
    yield from _door(data)
    yield from _telling(data)


def _model(path: Path, model: Any, providers: Mapping[str, Any]) -> Iterator[Mistake]:
    wrong = f"names and aliases must match {UPSTREAM_MODEL}"
    if re.fullmatch(UPSTREAM_MODEL, str(path[-1])) is None:
        yield Mistake(path, wrong)
    for at, alias in enumerate(_list(model, "aliases")):
        if isinstance(alias, str) and re.fullmatch(UPSTREAM_MODEL, alias) is None:
            yield Mistake((*path, "aliases", at), wrong)
    for at, target in enumerate(_list(model, "targets")):
        provider = _text(target, "provider")
        if provider and provider not in providers:
            meant = nearest(provider, providers)
            hint = f"did you mean {meant}?" if meant else f"there are: {', '.join(sorted(providers)) or 'none'}"
            yield Mistake((*path, "targets", at, "provider"), f"there is no such provider; {hint}")


def _callers(data: Any) -> Iterator[Mistake]:
    """Yields what would let in fewer callers than somebody meant."""
    rpcs = [method.rpartition("/")[2] for method in methods.permissions()]
    for group, what, field in (("keys", "id", "id"), ("certificates", "name", "san")):
        entries = _list(_names(data, "auth"), group)
        names = [
            _compared(_text(entry, field)) if group == "certificates" else _text(entry, field) for entry in entries
        ]
        for at, entry in enumerate(entries):
            path: Path = ("auth", group, at)
            if (name := names[at]) and name in names[:at]:
                yield Mistake((*path, field), f"the {what} {name[:64]} is there {names.count(name)} times")
            for pattern_at, pattern in enumerate(_list(entry, "rpcs")):
                if isinstance(pattern, str) and not any(fnmatchcase(rpc, pattern) for rpc in rpcs):
                    yield Mistake((*path, "rpcs", pattern_at), f"the pattern {pattern[:64]!r} of rpcs fits no RPC")


def _door(data: Any) -> Iterator[Mistake]:
    """Yields what would leave the door wider open, or more firmly shut, than somebody meant."""
    auth, server = _names(data, "auth"), _names(data, "server")
    certificates = _list(auth, "certificates")
    if certificates and not _text(_names(server, "tls"), "client_ca"):
        yield Mistake(("auth", "certificates"), "without server.tls.client_ca nobody shows a certificate")
    listen = server.get("listen", ServerSettings.model_fields["listen"].default)
    if not _list(auth, "keys") and not certificates and not _is_local(listen):
        yield Mistake(
            ("server", "listen"), "without keys only a loopback address can be served: see auth.keys, auth.certificates"
        )


def _telling(data: Any) -> Iterator[Mistake]:
    """Yields what would not be told although somebody asked for it."""
    if _text(_names(data, "telemetry"), "content") == "masked" and data.get("records") is False:
        yield Mistake(("telemetry", "content"), "records is false: no content would be written")


def _is_local(listen: Any) -> bool:
    """Tells whether only this machine can reach an address; also when it is none, which is another mistake."""
    try:
        return is_local(check(listen)) if isinstance(listen, str) else True
    except ValueError:
        return True


def _compared(san: str) -> str:
    """Returns the name in a certificate as it is compared, see `CertificateSettings.name`."""
    return san if ":" in san else san.lower()


def _names(data: Any, name: str) -> Mapping[str, Any]:
    found = data.get(name) if isinstance(data, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _list(data: Any, name: str) -> list[Any]:
    found = data.get(name) if isinstance(data, Mapping) else None
    return list(found) if isinstance(found, list | tuple) else []


def _text(data: Any, name: str) -> str:
    found = data.get(name) if isinstance(data, Mapping) else None
    return found if isinstance(found, str) else ""
