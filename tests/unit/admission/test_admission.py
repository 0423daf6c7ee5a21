import asyncio
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.admission.authenticate import Authenticator, AuthSettings, KeySettings, authorize_method
from llmgateway_server.admission.bucket import Buckets
from llmgateway_server.admission.deadline import DeadlineSettings, deadline_for
from llmgateway_server.admission.gate import Gate, GateSettings
from llmgateway_server.admission.keys import MAX_KEY_CHARS, NewKey, hash_key, key_id_of, new_key
from llmgateway_server.admission.throttle import Throttle, ThrottleSettings, origin_of
from llmgateway_server.core.errors import AccessError, CallEndedError, ShedError
from llmgateway_server.core.principal import ANONYMOUS, PERMISSIONS, Permission, Principal, Role
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.secret import Secret
from llmgateway_server.testing.clock import ManualClock
from llmgateway_server.transport import methods

PEPPER = Secret("pepper")
SLACK_S = 1e-6


@given(
    per_minute=st.floats(1, 1e5),
    burst=st.integers(1, 50),
    steps=st.lists(st.floats(0, 5), min_size=1, max_size=150),
    start_s=st.floats(0, 1e6),
)
def test_no_interval_admits_more_than_burst_and_rate(
    per_minute: float, burst: int, steps: list[float], start_s: float
) -> None:
    buckets = Buckets(per_minute, burst)
    now, admitted = start_s, []
    for step in steps:
        now += step
        delay_s = buckets.delay_s("k", now)
        assert (buckets.take("k", now) == 0) == (delay_s == 0)
        if delay_s == 0:
            admitted.append(now)
        else:  # the delay is honest: not before it, and not after it
            assert buckets.delay_s("k", now + delay_s - SLACK_S) > 0 or delay_s <= 2 * SLACK_S
            assert buckets.delay_s("k", now + delay_s + SLACK_S) == 0
    for i, first in enumerate(admitted):
        for j, last in enumerate(admitted[i:], start=1):
            assert j <= burst + per_minute / 60 * (last - first) + SLACK_S * per_minute + 1e-6
    assert all(earlier <= later for earlier, later in pairwise(admitted))


def test_buckets_are_kept_apart_and_bounded() -> None:
    buckets = Buckets(60, 1, max_keys=2)
    assert [buckets.take(key, 0.0) for key in "abab"] == [0, 0, 1, 1]
    buckets.take("c", 0.0)
    assert len(buckets._arrival_s) == 2
    assert buckets.delay_s("a", 0.0) == 0  # forgotten first


def test_keys_have_their_form() -> None:
    made = [new_key(PEPPER) for _ in range(50)]
    assert len({each.key_id for each in made}) == len({each.key_hash for each in made}) == 50
    for each in made:
        key = each.key.reveal()
        assert key_id_of(key) == each.key_id
        assert hash_key(key, PEPPER) == each.key_hash != hash_key(key, Secret("other"))
        for place in range(len(key)):
            changed = key[:place] + ("x" if key[place] != "x" else "y") + key[place + 1 :]
            assert key_id_of(changed) is None  # the checksum tells typing errors
        assert key not in repr(each)


@given(st.text(max_size=2 * MAX_KEY_CHARS))
def test_other_texts_are_no_keys(text: str) -> None:
    assert key_id_of(text) is None


KEY, OTHER, EXPIRED = new_key(PEPPER), new_key(PEPPER), new_key(PEPPER)


def settings_of(key: NewKey, **options: object) -> KeySettings:
    return KeySettings(id=key.key_id, hash=key.key_hash, tenant="t", **options)  # type: ignore[arg-type]


def authenticator_of(settings: AuthSettings, clock: ManualClock) -> Authenticator:
    return Authenticator(settings, PEPPER, Throttle(ThrottleSettings(), clock), clock)


def authenticator(clock: ManualClock, **throttle: int) -> Authenticator:
    keys = (settings_of(KEY), settings_of(EXPIRED, expires_at_s=clock.wall_s() + 10))
    return Authenticator(AuthSettings(keys=keys), PEPPER, Throttle(ThrottleSettings(**throttle), clock), clock)


def test_a_key_is_found_in_either_header() -> None:
    who = authenticator(ManualClock())
    key = KEY.key.reveal()
    for metadata in ({"authorization": f"Bearer {key}"}, {"authorization": f"bearer  {key} "}, {"x-api-key": key}):
        assert who.authenticate(metadata, "p").key_id == KEY.key_id


def test_wrong_keys_are_refused_in_the_same_words() -> None:
    who = authenticator(ManualClock(), failed_logins_burst=100)
    key = KEY.key.reveal()
    errors = set()
    for metadata in (
        {},
        {"authorization": ""},
        {"authorization": "Bearer "},
        {"authorization": key},
        {"authorization": f"Basic {key}"},
        {"x-api-key": OTHER.key.reveal()},
        {"x-api-key": f"{key[:-1]}_"},
        {"x-api-key": "é" * 500},
        {"x-api-key": KEY.key_hash},
    ):
        with pytest.raises(AccessError) as caught:
            who.authenticate(metadata, "p")
        errors.add((caught.value.reason, str(caught.value), str(caught.value.slots)))
    assert errors == {(Reason.INVALID_CREDENTIALS, "INVALID_CREDENTIALS", "{}")}


def test_a_key_expires() -> None:
    clock = ManualClock()
    who = authenticator(clock)
    metadata = {"x-api-key": EXPIRED.key.reveal()}
    assert who.authenticate(metadata, "p").key_id == EXPIRED.key_id
    clock.advance(10)
    with pytest.raises(AccessError) as caught:
        who.authenticate(metadata, "p")
    assert caught.value.reason is Reason.CREDENTIALS_EXPIRED


def test_an_address_that_guesses_is_locked_out_for_a_while() -> None:
    clock = ManualClock()
    who = authenticator(clock, failed_logins_burst=3, failed_logins_per_minute=6)
    for _ in range(3):
        with pytest.raises(AccessError):
            who.authenticate({}, "bad")
    with pytest.raises(ShedError) as caught:
        who.authenticate({"x-api-key": KEY.key.reveal()}, "bad")
    assert caught.value.reason is Reason.RATE_LIMITED_RPM
    assert caught.value.retry_after_s == pytest.approx(10)
    assert who.authenticate({"x-api-key": KEY.key.reveal()}, "good").key_id == KEY.key_id
    clock.advance(10.001)
    assert who.authenticate({"x-api-key": KEY.key.reveal()}, "bad").key_id == KEY.key_id


def test_without_keys_everybody_is_let_in() -> None:
    clock = ManualClock()
    assert authenticator_of(AuthSettings(), clock).authenticate({}, "p") is ANONYMOUS


SANS = ("spiffe://a.test/chat", "Chat.test", "*.test")
CERTIFIED = AuthSettings.model_validate(
    {
        "keys": [settings_of(KEY).model_dump()],
        "certificates": [{"san": san, "tenant": tenant} for san, tenant in zip(SANS, "tuv", strict=True)],
    }
)


@pytest.mark.parametrize(
    ("names", "key_id"),
    [
        (("chat.test",), "cert:chat.test"),
        (("x", "spiffe://a.test/chat", "chat.test"), "cert:spiffe://a.test/chat"),  # the first entry counts
        (("*.test",), "cert:*.test"),
        (("x.test",), None),
        (("spiffe://a.test/chat/x",), None),
        (("spiffe://A.test/chat",), None),
        (("",), None),
        ((), None),
    ],
)
def test_certificates_are_found_by_whole_names(names: tuple[str, ...], key_id: str | None) -> None:
    who = authenticator_of(CERTIFIED, ManualClock())
    assert who.reads_certificates
    if key_id is not None:
        assert who.authenticate({}, "p", names).key_id == key_id
        return
    with pytest.raises(AccessError) as caught:
        who.authenticate({}, "p", names)
    assert caught.value.reason is Reason.INVALID_CREDENTIALS


@pytest.mark.parametrize(("names", "good"), [((), True), (("x.test",), True), (("chat.test",), False)])
def test_a_key_and_a_certificate_must_be_of_one_tenant(names: tuple[str, ...], *, good: bool) -> None:
    who = authenticator_of(CERTIFIED, ManualClock())
    metadata = {"x-api-key": KEY.key.reveal()}
    assert who.authenticate(metadata, "p", ("spiffe://a.test/chat",)).key_id == KEY.key_id
    if good:
        assert who.authenticate(metadata, "p", names).key_id == KEY.key_id
    else:
        with pytest.raises(AccessError):
            who.authenticate(metadata, "p", names)


@given(st.text(max_size=200))
def test_no_text_beside_a_certificate_is_taken_for_no_key(text: str) -> None:
    """Only a missing key lets the certificate decide; a wrong one never does."""
    who = authenticator_of(CERTIFIED, ManualClock())
    if not text.strip():
        return
    with pytest.raises(AccessError):
        who.authenticate({"x-api-key": text}, "p", ("chat.test",))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("unix", "", False),
    ],
)
def test_failures_are_counted_on_who_can_change_addresses(one: str, other: str, *, same: bool) -> None:
    assert (origin_of(one) == origin_of(other)) == same


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("method", sorted(methods.permissions()))
def test_roles_and_methods(role: Role, method: str) -> None:
    permission = methods.permissions()[method]
    principal = Principal("k", "t", frozenset({role}))
    if permission in PERMISSIONS[role]:
        authorize_method(principal, method, permission)
    else:
        with pytest.raises(AccessError) as caught:
            authorize_method(principal, method, permission)
        assert (caught.value.reason, caught.value.slots) == (Reason.ROLE_REQUIRED, {"permission": permission.value})


def test_what_each_role_is_for() -> None:
    granted = {
        role: sorted(
            name.rpartition("/")[2] for name, needs in methods.permissions().items() if needs in PERMISSIONS[role]
        )
        for role in Role
    }
    calls = ["Complete", "CountTokens", "Embed", "GenerateImage", "StreamComplete"]
    reads, states = ["GetModel", "ListModels"], ["Health", "Metrics"]
    operates = [
        "ExplainRoute",
        "GetCircuitBreaker",
        "ResetMetrics",
        "SetTargetEnabled",
        "TestProvider",
        "WatchEvents",
    ]
    assert granted == {
        Role.VIEWER: sorted(reads + states),
        Role.CALLER: sorted(calls + reads),
        Role.OPERATOR: sorted(calls + reads + states + operates),
        Role.ADMIN: sorted(calls + reads + states + operates),
    }
    assert Permission.PUBLIC not in methods.permissions().values()


def refusal(gate: Gate) -> Reason | None:
    try:
        with gate.permit():
            return None
    except ShedError as error:
        return error.reason if error.retry_after_s else None


def test_the_gate_counts_and_gives_back() -> None:
    gate = Gate(GateSettings(max_in_flight=2))
    with gate.permit():
        with suppress(RuntimeError), gate.permit():
            assert refusal(gate) is Reason.OVERLOADED
            assert gate.in_flight == 2
            raise RuntimeError
        assert gate.in_flight == 1
        assert refusal(gate) is None
    assert gate.in_flight == 0


def test_the_gate_watches_the_loop_and_the_memory() -> None:
    gate = Gate(GateSettings(max_loop_lag_s=0.2))
    gate.observe(0.7)
    assert refusal(gate) is None  # one late timer is no overload
    gate.observe(0.7)
    assert refusal(gate) is Reason.OVERLOADED
    for _ in range(5):
        gate.observe(0.0)
    assert refusal(gate) is None
    small = Gate(GateSettings(max_memory_bytes=1))
    small.observe(0.0)
    assert refusal(small) is Reason.OVERLOADED


async def test_the_gate_drains_and_stops() -> None:
    gate = Gate(GateSettings())
    await gate.stop()
    gate.start()
    gate.draining = True
    assert refusal(gate) is Reason.SERVER_DRAINING
    await gate.stop()


@given(remaining_s=st.one_of(st.none(), st.floats(0, 1e9)), streaming=st.booleans())
def test_deadlines_only_shrink(remaining_s: float | None, *, streaming: bool) -> None:
    settings = DeadlineSettings()
    if remaining_s is not None and remaining_s < settings.min_s:
        with pytest.raises(CallEndedError):
            deadline_for(settings, now_s=5.0, remaining_s=remaining_s, streaming=streaming)
        return
    deadline = deadline_for(settings, now_s=5.0, remaining_s=remaining_s, streaming=streaming)
    left = deadline.remaining_s(5.0)
    assert left <= settings.max_s + SLACK_S
    assert remaining_s is None or left <= remaining_s + SLACK_S
    assert deadline.from_client == (remaining_s is not None and remaining_s <= settings.max_s)
    assert deadline.remaining_s(1e12) == 0


async def test_a_gate_tells_when_it_is_empty() -> None:
    gate = Gate(GateSettings())
    await gate.empty(60.0)
    gate.enter()
    gate.enter()
    waiting = asyncio.create_task(gate.empty(60.0))
    await asyncio.sleep(0)
    gate.leave()
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.leave()
    await waiting
    gate.enter()
    await gate.empty(0.0)
    assert gate.in_flight == 1, "a call that lets nothing go holds up nothing"
