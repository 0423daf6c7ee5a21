"""Keys of AWS for a while: of a role that is assumed, of the virtual machine, of the container."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from llmgateway_server.core.clock import Clock
from llmgateway_server.core.secret import Secret
from llmgateway_server.providers.credentials.endpoint import Endpoint, document, not_given, text
from llmgateway_server.providers.credentials.setup import NotUsable, Setup
from llmgateway_server.providers.credentials.sigv4 import AwsKeys
from llmgateway_server.providers.credentials.source import Renewed, Token

ROLES_PATH = "/latest/meta-data/iam/security-credentials/"
SESSION_S = 300
"""How long the session with a machine's metadata may be used; it is opened for each fetch."""
RELATIVE_ORIGIN = "http://169.254.170.2"
"""Of what `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` names, in ECS."""
XML_FIELD = re.compile(r"<(AccessKeyId|SecretAccessKey|SessionToken|Expiration)>([^<]*)</\1>")


@dataclass(slots=True, frozen=True)
class _WebIdentity:
    """Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html."""

    endpoint: Endpoint
    role_arn: str
    session_name: str
    token_file: Path
    clock: Clock

    async def issue(self) -> Token:
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": self.role_arn,
            "RoleSessionName": self.session_name,
            "WebIdentityToken": _content(self.token_file),
        }
        return _keys(_credentials(await self.endpoint.ask_form(form)), "SessionToken", self.clock)

    async def aclose(self) -> None:
        await self.endpoint.aclose()


@dataclass(slots=True, frozen=True)
class _Metadata:
    """Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html."""

    endpoint: Endpoint
    clock: Clock

    async def issue(self) -> Token:
        ask = self.endpoint.ask
        lifetime = (("x-aws-ec2-metadata-token-ttl-seconds", str(SESSION_S)),)
        session = (("x-aws-ec2-metadata-token", _line(await ask("PUT", "/latest/api/token", lifetime))),)
        role = quote(_line(await ask("GET", ROLES_PATH, session)), safe="")
        return _keys(document(await ask("GET", ROLES_PATH + role, session)), "Token", self.clock)

    async def aclose(self) -> None:
        await self.endpoint.aclose()


@dataclass(slots=True, frozen=True)
class _Container:
    """Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html."""

    endpoint: Endpoint
    token_file: Path | None
    clock: Clock

    async def issue(self) -> Token:
        token = (("authorization", _content(self.token_file)),) if self.token_file is not None else ()
        return _keys(document(await self.endpoint.ask("GET", headers=token)), "Token", self.clock)

    async def aclose(self) -> None:
        await self.endpoint.aclose()


def web_identity(setup: Setup) -> Renewed:
    """Returns the keys of a role that is assumed with the token in a file, as in a pod of EKS.

    Raises:
        NotUsable: the file cannot be read, or the address is none.
    """
    texts = setup.texts
    endpoint = setup.endpoint((texts["url"] or f"https://sts.{setup.region}.amazonaws.com").rstrip("/") + "/")
    token_file = _readable(texts["token_file"])
    return setup.renewed(_WebIdentity(endpoint, texts["role_arn"], texts["session_name"], token_file, setup.clock))


def metadata(setup: Setup) -> Renewed:
    """Returns the keys of the role that a virtual machine has (IMDSv2).

    Raises:
        NotUsable: the address is none.
    """
    return setup.renewed(_Metadata(setup.endpoint(setup.texts["url"].rstrip("/")), setup.clock))


def container(setup: Setup) -> Renewed:
    """Returns the keys of the role that a task of ECS or a pod of EKS has.

    Raises:
        NotUsable: it has none, the file cannot be read, or the address is none.
    """
    relative = setup.environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "")
    address = setup.texts["url"] or (RELATIVE_ORIGIN + relative if relative else "")
    if not address:
        raise NotUsable("url", "is required where the environment of the container does not say it")
    token_file = _readable(setup.texts["token_file"]) if setup.texts["token_file"] else None
    return setup.renewed(_Container(setup.endpoint(address), token_file, setup.clock))


def _readable(name: str) -> Path:
    path = Path(name).expanduser()
    try:
        path.read_bytes()
    except OSError:
        raise NotUsable("token_file", "cannot be read") from None
    return path


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise not_given("was not asked: token_file cannot be read", refused=True) from None


def _line(body: bytes) -> str:
    """Returns the first line of a plain answer."""
    lines = body.decode("latin-1").split("\n", 1)
    if not (line := lines[0].strip()):
        raise not_given("answered nothing")
    return line


def _credentials(body: bytes) -> Mapping[str, Any]:
    """Returns the keys in an answer of STS, which is JSON for who asks for it, and XML from some stand-ins."""
    if body.lstrip().startswith(b"<"):
        found = XML_FIELD.findall(body.decode("utf-8", "replace"))
        return {name: html.unescape(value).strip() for name, value in found}
    inside: Any = document(body)
    for name in ("AssumeRoleWithWebIdentityResponse", "AssumeRoleWithWebIdentityResult", "Credentials"):
        inside = inside.get(name) if isinstance(inside, dict) else None
    return inside if isinstance(inside, dict) else {}


def _keys(answer: Mapping[str, Any], token_field: str, clock: Clock) -> Token:
    """Returns the keys in an answer, with the seconds that they have left by our clock."""
    keys = AwsKeys(text(answer, "SecretAccessKey"), text(answer, "AccessKeyId"), Secret(text(answer, token_field)))
    return Token(keys, _instant(answer.get("Expiration")) - clock.wall_s())


def _instant(expiration: Any) -> float:
    """Returns an end that is told as a date or as seconds since the epoch."""
    try:
        return float(expiration)
    except (TypeError, ValueError):
        pass
    try:
        return datetime.fromisoformat(expiration).timestamp()
    except (TypeError, ValueError):
        raise not_given("answered without Expiration") from None
