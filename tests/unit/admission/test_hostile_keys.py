"""Ten thousand texts that somebody could send as a key: none is a way in, none is told apart, none breaks anything."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from llmgateway_server.admission.authenticate import Authenticator, AuthSettings, KeySettings
from llmgateway_server.admission.keys import _check, new_key
from llmgateway_server.admission.throttle import Throttle, ThrottleSettings
from llmgateway_server.core.errors import AccessError
from llmgateway_server.core.principal import Role
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.secret import Secret
from llmgateway_server.testing.clock import ManualClock

COUNT = 10_000
PEPPER = Secret("a pepper of the server")
KNOWN = new_key(PEPPER)
GOOD = KNOWN.key.reveal()
ATTACKS = (
    "' OR '1'='1",
    "'; DROP TABLE keys; --",
    '" UNION SELECT hash FROM keys --',
    "{0.__class__.__mro__}",
    "${jndi:ldap://127.0.0.1/a}",
    "%s%n%x",
    "../../../../etc/passwd",
    "*",
    "[0-9a-zA-Z]{8}",
    "null",
    "None",
    "undefined",
    "true",
    "[]",
    "{}",
    "env:PATH",
    "file:/etc/hostname",
    "\x00",
    "\x00" + GOOD,
    GOOD + "\x00",
    GOOD + "_",
    GOOD + GOOD,
    GOOD.upper(),
    GOOD.lower(),
    GOOD.swapcase(),
    GOOD[::-1],
    GOOD.replace("_", "-"),
    GOOD.replace("_", "\uff3f"),
    "\u202e" + GOOD,
    KNOWN.key_id,
    KNOWN.key_hash,
    f"lgw_{KNOWN.key_id}",
    f"lgw_{KNOWN.key_id}__",
    f"Bearer {GOOD}",
    "e" * 8192,
)


def hostile(rng: random.Random) -> Iterator[str]:
    """Yields texts without end: attacks, the right key with a mistake, and forged keys whose checksum is right."""
    yield from ATTACKS
    while True:
        kind = rng.randrange(4)
        at = rng.randrange(len(GOOD))
        if kind == 0:
            yield GOOD[:at] + chr(rng.choice((rng.randrange(1, 127), rng.randrange(0x80, 0xD800)))) + GOOD[at + 1 :]
        elif kind == 1:
            yield GOOD[:at] + rng.choice(ATTACKS) + GOOD[at:]
        elif kind == 2:
            body = f"lgw_{KNOWN.key_id}_{''.join(rng.choice('0123456789abcXYZ') for _ in range(43))}"
            yield f"{body}_{_check(body)}"
        else:
            body = f"lgw_{rng.choice(ATTACKS)}_{rng.choice(ATTACKS)}"
            yield f"{body}_{_check(body)}"


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_ten_thousand_hostile_keys_are_wrong_keys(header: str) -> None:
    entry = KeySettings(id=KNOWN.key_id, hash=KNOWN.key_hash, tenant="acme", roles=(Role.ADMIN,))
    clock = ManualClock()
    throttle = Throttle(ThrottleSettings(failed_logins_burst=2 * COUNT), clock)
    authenticator = Authenticator(AuthSettings(keys=(entry,)), PEPPER, throttle, clock)

    def sent(key: str) -> dict[str, str]:
        return {header: f"Bearer {key}" if header == "authorization" else key}

    texts = hostile(random.Random(20))
    said = set()
    for _ in range(COUNT):
        key = next(texts)
        if key.strip() == GOOD:  # a sign was replaced by itself
            continue
        with pytest.raises(AccessError) as caught:
            authenticator.authenticate(sent(key), "192.0.2.1")
        said.add((caught.value.reason, str(caught.value.slots)))
    assert said == {(Reason.INVALID_CREDENTIALS, "{}")}
    assert authenticator.authenticate(sent(GOOD), "192.0.2.1").key_id == KNOWN.key_id
