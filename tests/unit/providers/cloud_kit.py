"""Whoever gives tokens, as stand-ins on loopback: each looks closely at what it is shown, and refuses what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from llmgateway_server.config.credentials import Surroundings, of_clouds
from llmgateway_server.config.settings import ProviderSettings
from llmgateway_server.core.clock import Clock
from llmgateway_server.providers.credentials.source import Source
from llmgateway_server.providers.wire.http1 import Http1Wire
from llmgateway_server.providers.wire.port import Origin
from llmgateway_server.testing.upstream import Exchange, Received, Upstream, json_answer, raw

CANARY = "canary"
"""Stands in every secret, so that it can be looked for."""
ROLE = "a role"
ROLE_ARN = "arn:aws:iam::123456789012:role/caller"
VENDORS_OF = {"aws": "bedrock", "gcp": "vertex", "azure": "azure"}


@dataclass(slots=True)
class Desk:
    """What every stand-in has: numbered secrets, and how long they live."""

    clock: Clock
    lifetime_s: float = 3600.0
    given: int = 0
    refused: list[str] = field(default_factory=list)
    """What was wrong with requests."""

    def secret(self) -> str:
        self.given += 1
        return f"{CANARY}-{self.given}"

    def check(self, **right: bool) -> bool:
        wrong = [name for name, each in right.items() if not each]
        self.refused += wrong
        return not wrong

    async def refuse(self, exchange: Exchange, status: int = 401) -> None:
        await json_answer({"error": f"{CANARY} in the words of somebody else"}, status)(exchange)

    def expiration(self) -> float:
        return self.clock.wall_s() + self.lifetime_s

    def keys(self, token_field: str) -> dict[str, Any]:
        end = datetime.fromtimestamp(self.expiration(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        secret = self.secret()
        return {
            "Code": "Success",
            "AccessKeyId": f"AKID{self.given}",
            "SecretAccessKey": secret,
            token_field: f"session-{secret}",
            "Expiration": end,
        }


def form_of(received: Received) -> dict[str, str]:
    return dict(parse_qsl(received.body.decode())) if isinstance(received.body, bytes) else {}


@dataclass(slots=True)
class Sts(Desk):
    """AssumeRoleWithWebIdentity, for the tokens in `identities`."""

    identities: set[str] = field(default_factory=lambda: {f"{CANARY}-identity"})
    as_xml: bool = False

    async def __call__(self, exchange: Exchange) -> None:
        received = exchange.received
        form = form_of(received)
        if not self.check(
            method=(received.method, received.path) == ("POST", "/"),
            action=(form.get("Action"), form.get("Version")) == ("AssumeRoleWithWebIdentity", "2011-06-15"),
            role=form.get("RoleArn") == ROLE_ARN,
            session=form.get("RoleSessionName") == "llmgateway",
            identity=form.get("WebIdentityToken") in self.identities,
            accept=received.headers.get("accept") == "application/json",
        ):
            await self.refuse(exchange, 400)
            return
        keys = self.keys("SessionToken")
        if self.as_xml:
            inside = "".join(f"<{name}>{value}</{name}>" for name, value in keys.items() if name != "Code")
            text = f"<R xmlns='x'><AssumeRoleWithWebIdentityResult><Credentials>{inside}</Credentials></R>"
            await raw(_whole(text, "text/xml"))(exchange)
            return
        keys["Expiration"] = self.expiration()
        result = {"AssumeRoleWithWebIdentityResult": {"Credentials": keys}}
        await json_answer({"AssumeRoleWithWebIdentityResponse": result})(exchange)


@dataclass(slots=True)
class InstanceMetadata(Desk):
    """IMDSv2: nothing without a session."""

    sessions: set[str] = field(default_factory=set)

    async def __call__(self, exchange: Exchange) -> None:
        received = exchange.received
        if received.path == "/latest/api/token":
            lifetime = received.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
            if self.check(method=received.method == "PUT", lifetime=lifetime.isdecimal()):
                session = f"{CANARY}-session-{len(self.sessions)}"
                self.sessions.add(session)
                await raw(_whole(session, "text/plain"))(exchange)
            else:
                await self.refuse(exchange, 400)
        elif not self.check(
            method=received.method == "GET",
            session=received.headers.get("x-aws-ec2-metadata-token") in self.sessions,
        ):
            await self.refuse(exchange)
        elif received.path == "/latest/meta-data/iam/security-credentials/":
            await raw(_whole(f"{ROLE}\n", "text/plain"))(exchange)
        elif unquote(received.path) == f"/latest/meta-data/iam/security-credentials/{ROLE}":
            await json_answer(self.keys("Token"))(exchange)
        else:
            await self.refuse(exchange, 404)


@dataclass(slots=True)
class ContainerAgent(Desk):
    """The agent of a task or a pod; wants to see the token in a file."""

    token: str = f"{CANARY}-pod"

    async def __call__(self, exchange: Exchange) -> None:
        received = exchange.received
        if self.check(
            method=(received.method, received.path) == ("GET", "/v1/credentials?id=1"),
            token=received.headers.get("authorization") == self.token,
        ):
            await json_answer(self.keys("Token"))(exchange)
        else:
            await self.refuse(exchange)


@dataclass(slots=True)
class GoogleTokens(Desk):
    """The token endpoint of Google: for a service account's signed assertion, or for a refresh token."""

    public_key: rsa.RSAPublicKey | None = None
    audience: str = ""

    async def __call__(self, exchange: Exchange) -> None:
        form = form_of(exchange.received)
        if form.get("grant_type") == "refresh_token":
            right = self.check(
                refresh_token=form.get("refresh_token") == f"{CANARY}-refresh",
                client=(form.get("client_id"), form.get("client_secret")) == ("cli", f"{CANARY}-cli"),
            )
        else:
            right = self._asserted(form)
        if right:
            answer = {"access_token": self.secret(), "expires_in": self.lifetime_s, "token_type": "Bearer"}
            await json_answer(answer)(exchange)
        else:
            await self.refuse(exchange, 400)

    def _asserted(self, form: Mapping[str, str]) -> bool:
        assert self.public_key is not None
        assertion = form.get("assertion", "")
        try:
            claims = jwt.decode(
                assertion,
                self.public_key,
                algorithms=["RS256"],
                audience=self.audience,
                options={"verify_exp": False, "verify_iat": False},  # by the test's clock, below
            )
        except jwt.PyJWTError:
            return self.check(signature=False)
        now_s = self.clock.wall_s()
        return self.check(
            grant=form.get("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer",
            issuer=claims["iss"] == "caller@project.iam.gserviceaccount.com",
            scope=claims["scope"] == "https://www.googleapis.com/auth/cloud-platform",
            begins=abs(claims["iat"] - now_s) < 5,
            ends=claims["exp"] - claims["iat"] == 3600,
            key_id=jwt.get_unverified_header(assertion).get("kid") == "the-key",
        )


@dataclass(slots=True)
class GoogleMetadata(Desk):
    """The metadata server of Google Cloud."""

    async def __call__(self, exchange: Exchange) -> None:
        received = exchange.received
        wanted = "/computeMetadata/v1/instance/service-accounts/default/token"
        if self.check(
            method=(received.method, received.path) == ("GET", wanted),
            flavor=received.headers.get("metadata-flavor") == "Google",
        ):
            await json_answer({"access_token": self.secret(), "expires_in": self.lifetime_s})(exchange)
        else:
            await self.refuse(exchange, 403)


@dataclass(slots=True)
class Entra(Desk):
    """The token endpoint of a directory."""

    client_secret: str = f"{CANARY}-client"
    scope: str = "https://cognitiveservices.azure.com/.default"

    async def __call__(self, exchange: Exchange) -> None:
        received = exchange.received
        form = form_of(received)
        if self.check(
            method=(received.method, received.path) == ("POST", "/a-tenant/oauth2/v2.0/token"),
            grant=form.get("grant_type") == "client_credentials",
            client=form.get("client_id") == "an-app",
            secret=form.get("client_secret") == self.client_secret,
            scope=form.get("scope") == self.scope,
        ):
            answer = {"token_type": "Bearer", "expires_in": str(int(self.lifetime_s)), "access_token": self.secret()}
            await json_answer(answer)(exchange)
        else:
            await self.refuse(exchange)


def _whole(text: str, media_type: str) -> bytes:
    body = text.encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def root_of(upstream: Upstream) -> str:
    return upstream.base_url.removesuffix("/v1")


def private_key() -> tuple[rsa.RSAPublicKey, str]:
    """Returns a key pair: the public key, and the other one as text."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key.public_key(), pem.decode()


def service_account_file(folder: Path, pem: str, token_uri: str) -> Path:
    path = folder / "account.json"
    account = {
        "type": "service_account",
        "project_id": "a-project",
        "private_key_id": "the-key",
        "private_key": pem,
        "client_email": "caller@project.iam.gserviceaccount.com",
        "token_uri": token_uri,
    }
    path.write_text(json.dumps(account), encoding="utf-8")
    return path


def user_file(folder: Path) -> Path:
    path = folder / "user.json"
    user = {
        "type": "authorized_user",
        "client_id": "cli",
        "client_secret": f"{CANARY}-cli",
        "refresh_token": f"{CANARY}-refresh",
    }
    path.write_text(json.dumps(user), encoding="utf-8")
    return path


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def source_of(credential: Mapping[str, Any], clock: Clock, *, environment: Mapping[str, str] | None = None) -> Source:
    """Returns the source that an account with this credential has."""
    account = ProviderSettings(
        vendor=VENDORS_OF[credential["kind"].partition("_")[0]],
        base_url="http://127.0.0.1:9/openai",
        region="eu-central-1",
        credentials=(dict(credential),),  # type: ignore[arg-type]  # as it stands in a file
    )
    open_wire: Callable[[Origin], Http1Wire] = Http1Wire
    surroundings = Surroundings(environment or {}, Origin("http", "127.0.0.1", 9), clock, open_wire)
    (made,) = of_clouds("p", account, surroundings)
    return made.source
