"""Tokens for Google Cloud: of a service account, of a person, and of the machine that this runs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from llmgateway_server.core.clock import Clock
from llmgateway_server.providers.credentials.endpoint import Endpoint, access_token, not_given
from llmgateway_server.providers.credentials.setup import NotUsable, Setup
from llmgateway_server.providers.credentials.source import Renewed, Token

TOKEN_URI = "https://oauth2.googleapis.com/token"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
"""The one scope that all of its services take; what an account may do, IAM says."""
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTED_S = 3600
"""Longest time that an assertion may be valid for, and how long its token is."""
METADATA_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"


@dataclass(slots=True, frozen=True)
class _ServiceAccount:
    """Source: https://developers.google.com/identity/protocols/oauth2/service-account#httprest."""

    endpoint: Endpoint
    path: Path
    clock: Clock

    async def issue(self) -> Token:
        try:
            assertion = _assertion(_file(self.path, "service_account"), self.clock.wall_s())
        except NotUsable as error:
            raise not_given(f"was not asked: file {error}", refused=True) from None
        return access_token(await self.endpoint.ask_form({"grant_type": GRANT, "assertion": assertion}))

    async def aclose(self) -> None:
        await self.endpoint.aclose()


@dataclass(slots=True, frozen=True)
class _User:
    """Source: RFC 6749 section 6."""

    endpoint: Endpoint
    path: Path

    async def issue(self) -> Token:
        try:
            found = _file(self.path, "authorized_user")
            form = {name: _text(found, name) for name in ("client_id", "client_secret", "refresh_token")}
        except NotUsable as error:
            raise not_given(f"was not asked: file {error}", refused=True) from None
        return access_token(await self.endpoint.ask_form({"grant_type": "refresh_token", **form}))

    async def aclose(self) -> None:
        await self.endpoint.aclose()


@dataclass(slots=True, frozen=True)
class _Metadata:
    """Source: https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys (`service-accounts`)."""

    endpoint: Endpoint

    async def issue(self) -> Token:
        return access_token(await self.endpoint.ask("GET", headers=(("metadata-flavor", "Google"),)))

    async def aclose(self) -> None:
        await self.endpoint.aclose()


def service_account(setup: Setup) -> Renewed:
    """Returns the tokens of a service account. Its file is read for each; its address holds from the start on.

    Raises:
        NotUsable: PyJWT is not installed, or the file is none of a service account.
    """
    path = Path(setup.texts["file"]).expanduser()
    found = _file(path, "service_account")
    _assertion(found, setup.clock.wall_s())  # also tells a key that is none
    endpoint = setup.endpoint(setup.texts["url"] or str(found.get("token_uri") or TOKEN_URI))
    return setup.renewed(_ServiceAccount(endpoint, path, setup.clock))


def user(setup: Setup) -> Renewed:
    """Returns the tokens of a person who has logged in with `gcloud auth application-default login`.

    Raises:
        NotUsable: the file is none of a person.
    """
    path = Path(setup.texts["file"]).expanduser()
    _file(path, "authorized_user")
    return setup.renewed(_User(setup.endpoint(setup.texts["url"] or TOKEN_URI), path))


def metadata(setup: Setup) -> Renewed:
    """Returns the tokens of the service account that a machine or a pod has.

    Raises:
        NotUsable: the address is none.
    """
    return setup.renewed(_Metadata(setup.endpoint(setup.texts["url"].rstrip("/") + METADATA_PATH)))


def _file(path: Path, kind: str) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except OSError:
        raise NotUsable("file", "cannot be read") from None
    except (msgspec.DecodeError, RecursionError):
        raise NotUsable("file", "is not JSON") from None
    if found.get("type") != kind:
        raise NotUsable("file", f"must have the type {kind}")
    return found


def _text(found: Mapping[str, Any], name: str) -> str:
    text = found.get(name)
    if not isinstance(text, str) or not text:
        raise NotUsable("file", f"must have a {name}")
    return text


def _assertion(found: Mapping[str, Any], now_s: float) -> str:
    """Returns what a service account says of itself, signed (RFC 7523)."""
    try:
        import jwt
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        text = f"the extra `vertex` is not installed, there is no {error.name}"
        raise NotUsable("", text) from None
    claims = {
        "iss": _text(found, "client_email"),
        "scope": SCOPE,
        "aud": str(found.get("token_uri") or TOKEN_URI),
        "iat": int(now_s),
        "exp": int(now_s) + ASSERTED_S,
    }
    headers = {"kid": str(found["private_key_id"])} if found.get("private_key_id") else None
    try:
        key = load_pem_private_key(_text(found, "private_key").encode(), None)
        return jwt.encode(claims, key, "RS256", headers)  # type: ignore[arg-type]  # another kind of key is told below
    except (ValueError, TypeError, jwt.PyJWTError):
        raise NotUsable("file", "must have a private_key of RSA in PEM") from None
