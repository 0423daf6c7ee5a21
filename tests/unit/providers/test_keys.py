"""Keys of an account: whose turn it is, which are set aside, and files that change while the gateway runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmgateway_server.config.load import ConfigError, SecretFile, secret_source
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.secret import Secret
from llmgateway_server.providers.credentials.source import Credential, Given, Source
from llmgateway_server.providers.keys import NOT_GIVEN_S, SET_ASIDE_S, Key, KeyRing
from llmgateway_server.testing.clock import ManualClock


class FakeToken:
    """A source whose token is there, or not yet, or never."""

    def __init__(self, text: str = "", failure: Reason | None = None, *, replaced: bool = False) -> None:
        self.secret = Secret(text) if text else None
        self.failure = failure
        self.replaced = replaced
        self.events: list[str] = []

    def current(self) -> Secret | None:
        return self.secret

    async def fetched(self) -> Secret:
        if self.failure is not None:
            raise UpstreamError(self.failure)
        self.secret = Secret("fetched")
        return self.secret

    def refused(self, secret: Secret) -> bool:
        return self.replaced

    def warm_up(self) -> None:
        self.events.append("warm")

    async def aclose(self) -> None:
        self.events.append("closed")


def fixed(text: str) -> Credential:
    secret = Secret(text)
    return Credential(Given(lambda: secret))


def ring(clock: ManualClock, *texts: str) -> KeyRing:
    return KeyRing("p", tuple(map(fixed, texts)), clock)


def of_tokens(clock: ManualClock, *sources: Source) -> KeyRing:
    return KeyRing("p", tuple(map(Credential, sources)), clock)


def chosen(keys: KeyRing) -> Key:
    key = keys.choose()
    assert key is not None
    return key


def text_of(key: Key) -> str:
    assert key.secret is not None
    return key.secret.reveal()


def test_an_account_without_keys_has_none() -> None:
    assert ring(ManualClock()).choose() is None


def test_keys_take_turns() -> None:
    keys = ring(ManualClock(), "a", "b", "c")
    assert [text_of(chosen(keys)) for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


@pytest.mark.parametrize("reason", SET_ASIDE_S)
def test_a_refused_key_is_set_aside_for_a_while(reason: Reason) -> None:
    clock = ManualClock()
    keys = ring(clock, "a", "b")
    assert keys.refused(chosen(keys), reason, None)
    assert {chosen(keys).key_id for _ in range(4)} == {"key-2"}
    clock.advance(SET_ASIDE_S[reason])
    assert {chosen(keys).key_id for _ in range(4)} == {"key-1", "key-2"}


def test_the_provider_may_say_for_how_long() -> None:
    clock = ManualClock()
    keys = ring(clock, "a", "b")
    keys.refused(chosen(keys), Reason.PROVIDER_QUOTA_EXHAUSTED, 5.0)
    clock.advance(5.0)
    assert {chosen(keys).key_id for _ in range(2)} == {"key-1", "key-2"}


def test_where_all_are_set_aside_the_one_that_returns_first_is_used() -> None:
    clock = ManualClock()
    keys = ring(clock, "a", "b")
    assert keys.refused(chosen(keys), Reason.PROVIDER_QUOTA_EXHAUSTED, None)
    assert not keys.refused(chosen(keys), Reason.PROVIDER_AUTH_FAILED, None)
    assert chosen(keys).key_id == "key-2"


def test_other_failures_are_not_about_the_key() -> None:
    keys = ring(ManualClock(), "a", "b")
    key = chosen(keys)
    assert not any(keys.refused(key, reason, None) for reason in Reason if reason not in SET_ASIDE_S)
    assert key.back_at_s == 0.0


def test_a_new_secret_is_not_set_aside() -> None:
    secrets = [Secret("old")]
    keys = KeyRing("p", (Credential(Given(lambda: secrets[0])), fixed("other")), ManualClock())
    keys.refused(chosen(keys), Reason.PROVIDER_AUTH_FAILED, None)
    secrets[0] = Secret("new")
    assert {text_of(chosen(keys)) for _ in range(2)} == {"new", "other"}


def test_a_secret_that_was_exchanged_meanwhile_is_tried_at_once() -> None:
    secrets = [Secret("old")]
    keys = KeyRing("p", (Credential(Given(lambda: secrets[0])),), ManualClock())
    key = chosen(keys)
    used, secrets[0] = key.secret, Secret("new")
    assert keys.refused(key, Reason.PROVIDER_AUTH_FAILED, None, used)
    assert key.back_at_s == 0.0
    assert not keys.refused(key, Reason.PROVIDER_AUTH_FAILED, None, secrets[0])
    assert key.back_at_s > 0.0


async def test_a_token_that_is_there_goes_before_one_that_must_be_waited_for() -> None:
    keys = of_tokens(ManualClock(), FakeToken(), FakeToken("b"))
    assert {chosen(keys).key_id for _ in range(4)} == {"key-2"}
    assert (await keys.secret_of(chosen(keys))).reveal() == "b"


async def test_a_token_that_was_waited_for_can_be_set_aside() -> None:
    source = FakeToken()
    keys = of_tokens(ManualClock(), source, FakeToken())
    key = chosen(keys)
    secret = await keys.secret_of(key)
    assert keys.refused(key, Reason.PROVIDER_AUTH_FAILED, None, secret)
    assert chosen(keys).key_id == "key-2"


@pytest.mark.parametrize(
    ("reason", "for_s"), [(Reason.UPSTREAM_UNREACHABLE, NOT_GIVEN_S), (Reason.PROVIDER_AUTH_FAILED, 300.0)]
)
async def test_a_key_whose_token_is_not_given_lets_others_go_first(reason: Reason, for_s: float) -> None:
    clock = ManualClock()
    keys = of_tokens(clock, FakeToken(failure=reason), FakeToken(failure=reason))
    first = chosen(keys)
    with pytest.raises(UpstreamError) as caught:
        await keys.secret_of(first)
    assert caught.value.another_key
    assert first.back_at_s == clock.monotonic_s() + for_s
    second = chosen(keys)
    assert second.key_id == "key-2"
    with pytest.raises(UpstreamError) as caught:
        await keys.secret_of(second)
    assert not caught.value.another_key


def test_a_token_that_is_replaced_sets_nothing_aside() -> None:
    told: list[object] = []
    source = FakeToken("a", replaced=True)
    keys = KeyRing("p", (Credential(source),), ManualClock(), told.append)
    key = chosen(keys)
    assert keys.refused(key, Reason.PROVIDER_AUTH_FAILED, None, key.secret)
    assert (key.back_at_s, told) == (0.0, [])
    assert not keys.refused(key, Reason.PROVIDER_QUOTA_EXHAUSTED, None, key.secret)
    assert len(told) == 1


async def test_a_ring_warms_and_closes_its_sources() -> None:
    sources = [FakeToken(), FakeToken()]
    keys = of_tokens(ManualClock(), *sources)
    keys.warm_up()
    await keys.aclose()
    assert [source.events for source in sources] == [["warm", "closed"]] * 2


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("one\n")
    read = secret_source(f"file:{path}", {}, "f")
    first = read()
    assert (first.reveal(), read()) == ("one", first)
    path.write_text("three\n")
    assert read().reveal() == "three"
    replacement = tmp_path / "new"
    replacement.write_text("threw\n")  # as long as the one before, so only the file itself is another
    replacement.replace(path)
    assert read().reveal() == "threw"


def test_a_link_that_leads_elsewhere_is_a_change(tmp_path: Path) -> None:
    """So are mounted secrets of Kubernetes replaced."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    link = tmp_path / "key"
    link.symlink_to("a")
    read = secret_source(f"file:{link}", {}, "f")
    assert read().reveal() == "a"
    other = tmp_path / "other"
    other.symlink_to("b")
    other.replace(link)
    assert read().reveal() == "b"


@pytest.mark.parametrize(
    "spoil", [Path.unlink, lambda path: path.write_text(" "), lambda path: path.write_bytes(b"\xff")]
)
def test_the_last_good_secret_stays_while_a_file_cannot_be_read(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    path = tmp_path / "key"
    path.write_text("good")
    source = SecretFile(path, "f")
    source.read()
    spoil(path)
    assert source.current().reveal() == "good"
    path.write_text("better")
    assert source.current().reveal() == "better"


def test_a_file_must_be_there_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"providers\.p\.api_key"):
        secret_source(f"file:{tmp_path / 'none'}", {}, "providers.p.api_key")
