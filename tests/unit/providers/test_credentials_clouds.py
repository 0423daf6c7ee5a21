"""Each kind of credential against a stand-in that looks at what it is shown, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.credentials import endpoint, source
from llmgateway_server.providers.credentials.sigv4 import AwsKeys
from llmgateway_server.providers.credentials.source import Source
from llmgateway_server.testing.clock import ManualClock
from llmgateway_server.testing.upstream import Script, Upstream, close, hang, json_answer, raw, reset
from tests.unit.providers.cloud_kit import (
    CANARY,
    ROLE_ARN,
    ContainerAgent,
    Desk,
    Entra,
    GoogleMetadata,
    GoogleTokens,
    InstanceMetadata,
    Sts,
    private_key,
    root_of,
    service_account_file,
    source_of,
    user_file,
    written,
)


@dataclass(slots=True)
class Place:
    """Where a test runs: its time, its files, the address of the stand-in."""

    clock: ManualClock
    folder: Path
    root: str


Made = tuple[Desk, dict[str, Any]]


def sts(place: Place) -> Made:
    token = written(place.folder / "identity", f"{CANARY}-identity\n")
    credential = {"kind": "aws_web_identity", "role_arn": ROLE_ARN, "token_file": str(token), "url": place.root}
    return Sts(place.clock), credential


def sts_in_xml(place: Place) -> Made:
    _, credential = sts(place)
    return Sts(place.clock, as_xml=True), credential


def machine(place: Place) -> Made:
    return InstanceMetadata(place.clock), {"kind": "aws_metadata", "url": place.root}


def container(place: Place) -> Made:
    token = written(place.folder / "pod", f"{CANARY}-pod")
    url = f"{place.root}/v1/credentials?id=1"
    return ContainerAgent(place.clock), {"kind": "aws_container", "url": url, "token_file": str(token)}


def service_account(place: Place) -> Made:
    public, pem = private_key()
    uri = f"{place.root}/token"
    file = service_account_file(place.folder, pem, uri)
    return GoogleTokens(place.clock, public_key=public, audience=uri), {
        "kind": "gcp_service_account",
        "file": str(file),
    }


def user(place: Place) -> Made:
    credential = {"kind": "gcp_user", "file": str(user_file(place.folder)), "url": f"{place.root}/token"}
    return GoogleTokens(place.clock), credential


def google_machine(place: Place) -> Made:
    return GoogleMetadata(place.clock), {"kind": "gcp_metadata", "url": f"{place.root}/"}


def entra(place: Place) -> Made:
    return Entra(place.clock), {
        "kind": "azure_client",
        "tenant_id": "a-tenant",
        "client_id": "an-app",
        "client_secret": f"{CANARY}-client",
        "url": place.root,
    }


KINDS: tuple[Callable[[Place], Made], ...] = (
    sts,
    sts_in_xml,
    machine,
    container,
    service_account,
    user,
    google_machine,
    entra,
)


@dataclass(slots=True)
class World:
    clock: ManualClock
    upstream: Upstream
    desk: Desk
    source: Source

    async def secret(self) -> str:
        return (await self.source.fetched()).reveal()

    async def failed(self) -> UpstreamError:
        with pytest.raises(UpstreamError) as caught:
            await self.source.fetched()
        return caught.value


@asynccontextmanager
async def world(make: Callable[[Place], Made], folder: Path) -> AsyncIterator[World]:
    clock = ManualClock()
    async with Upstream() as upstream:
        desk, credential = make(Place(clock, folder, root_of(upstream)))
        upstream.script = desk  # type: ignore[assignment]  # every desk can be called
        source = source_of(credential, clock)
        try:
            yield World(clock, upstream, desk, source)
        finally:
            await source.aclose()
        if upstream.requests:  # no socket is left
            async with asyncio.timeout(5):
                await upstream.requests[-1].gone.wait()


@pytest.mark.parametrize("make", KINDS)
async def test_a_token_is_given_for_what_is_shown(make: Callable[[Place], Made], tmp_path: Path) -> None:
    async with world(make, tmp_path) as it:
        found = await it.source.fetched()
        assert (found.reveal(), it.desk.refused) == (f"{CANARY}-1", [])
        if isinstance(found, AwsKeys):
            assert (found.access_key_id, found.session_token.reveal()) == ("AKID1", f"session-{CANARY}-1")
        assert (it.source.current(), it.desk.given) == (found, 1)


@pytest.mark.parametrize("make", KINDS)
async def test_it_is_renewed_before_it_ends(make: Callable[[Place], Made], tmp_path: Path) -> None:
    async with world(make, tmp_path) as it:
        old = await it.source.fetched()
        it.clock.advance(3300)
        async with asyncio.timeout(5):
            while (new := await it.source.fetched()) is old:
                await asyncio.sleep(0.001)
        assert (new.reveal(), it.desk.given, it.desk.refused) == (f"{CANARY}-2", 2, [])


@pytest.mark.parametrize("make", KINDS)
async def test_fifty_calls_at_its_end_are_one_question(make: Callable[[Place], Made], tmp_path: Path) -> None:
    async with world(make, tmp_path) as it:
        await it.secret()
        it.clock.advance(4000)
        found = await asyncio.gather(*(it.secret() for _ in range(50)))
        assert (set(found), it.desk.given) == ({f"{CANARY}-2"}, 2)


HTML = raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n<html></html>")
HUGE = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n" + b"x" * 2_000_000)
FAULTS: dict[str, tuple[Script, Reason]] = {
    "bad request": (json_answer({"error": CANARY}, 400), Reason.PROVIDER_AUTH_FAILED),
    "unauthorized": (json_answer({"error": CANARY}, 401), Reason.PROVIDER_AUTH_FAILED),
    "forbidden": (json_answer({"error": CANARY}, 403), Reason.PROVIDER_AUTH_FAILED),
    "not found": (json_answer({"error": CANARY}, 404), Reason.UPSTREAM_UNREACHABLE),
    "redirected": (json_answer({"error": CANARY}, 302, location="/x"), Reason.UPSTREAM_UNREACHABLE),
    "too many": (json_answer({"error": CANARY}, 429), Reason.UPSTREAM_UNREACHABLE),
    "broken": (json_answer({"error": CANARY}, 500), Reason.UPSTREAM_UNREACHABLE),
    "empty object": (json_answer({}), Reason.UPSTREAM_UNREACHABLE),
    "page": (HTML, Reason.UPSTREAM_UNREACHABLE),
    "huge": (HUGE, Reason.UPSTREAM_UNREACHABLE),
    "no HTTP": ([raw(b"SSH-2.0-x\r\n"), close], Reason.UPSTREAM_UNREACHABLE),
    "reset": (reset, Reason.UPSTREAM_UNREACHABLE),
    "closed": (close, Reason.UPSTREAM_UNREACHABLE),
    "silent": (hang, Reason.UPSTREAM_UNREACHABLE),
}


@pytest.mark.parametrize("make", [sts, machine, container, service_account, google_machine, entra])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_token_that_is_not_given_has_a_reason_and_no_words_of_anybody(
    make: Callable[[Place], Made], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "FETCH_S", 0.1 if fault == "silent" else 20.0)
    script, reason = FAULTS[fault]
    async with world(make, tmp_path) as it:
        it.upstream.script = script
        with structlog.testing.capture_logs() as lines:
            error = await it.failed()
        assert (error.reason, error.http_status) == (reason, None)
        assert CANARY not in f"{lines} {error!r} {error.detail} {error.slots}"
        assert [line["log_level"] for line in lines] == ["error"]
        monkeypatch.undo()
        it.upstream.script = it.desk  # type: ignore[assignment]
        it.clock.advance(source.FIRST_PAUSE_S)
        assert await it.secret() == f"{CANARY}-1"


async def test_an_endpoint_that_is_down_is_one_that_cannot_be_reached(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Upstream() as upstream:
        root = root_of(upstream)
    _, credential = entra(Place(clock, tmp_path, root))
    down = source_of(credential, clock)
    with pytest.raises(UpstreamError) as caught:
        await down.fetched()
    assert (caught.value.reason, caught.value.detail) == (
        Reason.UPSTREAM_UNREACHABLE,
        "token endpoint did not answer: WireUnreachable",
    )
    await down.aclose()


async def test_a_token_that_does_not_say_how_long_it_lives(tmp_path: Path) -> None:
    async with world(google_machine, tmp_path) as it:
        it.upstream.then(json_answer({"access_token": "a"}), json_answer({"access_token": "b", "expires_in": "soon"}))
        assert await it.secret() == "a"
        it.clock.advance(endpoint.UNSAID_LIFETIME_S)
        assert await it.secret() == "b"
        it.clock.advance(endpoint.UNSAID_LIFETIME_S)
        assert await it.secret() == f"{CANARY}-1"


@pytest.mark.parametrize("spoilt", [{"Expiration": "never"}, {"Expiration": None}, {"Token": ""}, {"AccessKeyId": 5}])
async def test_keys_that_are_not_whole_are_none(spoilt: dict[str, Any], tmp_path: Path) -> None:
    async with world(container, tmp_path) as it:
        it.upstream.then(json_answer({**it.desk.keys("Token"), **spoilt}))
        assert (await it.failed()).reason is Reason.UPSTREAM_UNREACHABLE


async def test_a_token_for_another_token_is_read_each_time(tmp_path: Path) -> None:
    """Kubernetes replaces it every hour or so."""
    async with world(sts, tmp_path) as it:
        desk = it.desk
        assert isinstance(desk, Sts)
        await it.secret()
        desk.identities = {"new"}
        written(tmp_path / "identity", "new")
        it.clock.advance(4000)
        assert await it.secret() == f"{CANARY}-2"
        (tmp_path / "identity").unlink()
        it.clock.advance(4000)
        error = await it.failed()
        assert (error.reason, len(it.upstream.requests)) == (Reason.PROVIDER_AUTH_FAILED, 2)


@pytest.mark.parametrize("content", ["", "[]", '{"type": "service_account"}', "{"])
async def test_a_key_file_that_was_spoilt_later_gives_no_token(content: str, tmp_path: Path) -> None:
    async with world(service_account, tmp_path) as it:
        await it.secret()
        written(tmp_path / "account.json", content)
        it.clock.advance(4000)
        assert (await it.failed()).reason is Reason.PROVIDER_AUTH_FAILED


async def test_a_key_that_was_exchanged_signs_the_next_assertion(tmp_path: Path) -> None:
    async with world(service_account, tmp_path) as it:
        desk = it.desk
        assert isinstance(desk, GoogleTokens)
        await it.secret()
        desk.public_key, pem = private_key()
        service_account_file(tmp_path, pem, desk.audience)
        it.clock.advance(4000)
        assert (await it.secret(), desk.refused) == (f"{CANARY}-2", [])


async def test_another_key_is_refused_by_the_stand_in(tmp_path: Path) -> None:
    """The stand-in does look."""
    async with world(service_account, tmp_path) as it:
        desk = it.desk
        assert isinstance(desk, GoogleTokens)
        desk.public_key, _ = private_key()
        assert (await it.failed()).reason is Reason.PROVIDER_AUTH_FAILED
        assert desk.refused == ["signature"]


async def test_what_a_container_says_of_itself(tmp_path: Path) -> None:
    token = written(tmp_path / "pod", f"{CANARY}-pod")
    async with Upstream() as upstream:
        desk = ContainerAgent(ManualClock())
        upstream.script = desk
        environment = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{root_of(upstream)}/v1/credentials?id=1",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
        }
        found = source_of({"kind": "aws_container"}, desk.clock, environment=environment)
        assert (await found.fetched()).reveal() == f"{CANARY}-1"
        await found.aclose()


def profile_files(home: Path, credentials: str, config: str = "") -> None:
    (home / ".aws").mkdir(exist_ok=True)
    written(home / ".aws" / "credentials", credentials)
    if config:
        written(home / ".aws" / "config", config)


def section(name: str, number: int, token: str = "") -> str:
    lines = [f"[{name}]", f"aws_access_key_id = AKID{number}", f"aws_secret_access_key = a%b/{number}"]
    return "\n".join([*lines, f"aws_session_token={token}" if token else "", ""])


@pytest.mark.parametrize(
    ("profile", "environment", "access_key_id"),
    [
        ("", {}, "AKID1"),
        ("dev", {}, "AKID2"),
        ("prod", {}, "AKID3"),
        ("", {"AWS_PROFILE": "dev"}, "AKID2"),
        ("prod", {"AWS_PROFILE": "dev"}, "AKID3"),
    ],
)
def test_a_profile_is_looked_for_in_both_files(
    profile: str, environment: dict[str, str], access_key_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    credentials = section("default", 1) + section("dev", 2, "tok")
    profile_files(tmp_path, credentials, "[profile dev]\nregion = x\n" + section("profile prod", 3))
    credential = {"kind": "aws_profile", "profile": profile}
    found = source_of(credential, ManualClock(), environment=environment).current()
    assert isinstance(found, AwsKeys)
    assert (found.access_key_id, found.reveal()) == (access_key_id, f"a%b/{access_key_id[-1]}")
    assert found.session_token.reveal() == ("tok" if access_key_id == "AKID2" else "")


def test_a_profile_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = written(tmp_path / "keys", section("default", 1))
    found = source_of({"kind": "aws_profile", "file": str(file)}, ManualClock())
    first = found.current()
    assert found.current() is first
    assert first is not None
    written(file, section("default", 11))
    second = found.current()
    assert second is not None
    assert second.reveal() == "a%b/11"
    assert found.refused(first)  # somebody was still using it
    assert not found.refused(second)
    with structlog.testing.capture_logs() as lines:
        for spoilt in ("[default]\n", "no section", "[a]\n[a"):
            written(file, spoilt)
            assert found.current() is second
        file.unlink()
        assert found.current() is second
    assert {line["log_level"] for line in lines} == {"error"}
    written(file, section("default", 3))
    third = found.current()
    assert third is not None
    assert third.reveal() == "a%b/3"


def test_static_keys_change_with_their_files(tmp_path: Path) -> None:
    file = written(tmp_path / "secret", "one")
    credential = {"kind": "aws_static", "access_key_id": "AKID", "secret_access_key": f"file:{file}"}
    found = source_of(credential, ManualClock())
    first = found.current()
    assert found.current() is first
    written(file, "three")
    second = found.current()
    assert isinstance(second, AwsKeys)
    assert (second.reveal(), second.access_key_id, bool(second.session_token)) == ("three", "AKID", False)


def test_keys_of_the_environment_belong_together() -> None:
    environment = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    found = source_of({"kind": "aws_static"}, ManualClock(), environment=environment).current()
    assert isinstance(found, AwsKeys)
    assert (found.access_key_id, found.reveal(), found.session_token.reveal()) == ("AKID", "s", "t")
    own = {"kind": "aws_static", "access_key_id": "mine", "secret_access_key": "mine"}
    found = source_of(own, ManualClock(), environment=environment).current()
    assert isinstance(found, AwsKeys)
    assert (found.access_key_id, bool(found.session_token)) == ("mine", False)
