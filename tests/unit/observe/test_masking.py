import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.observe.masking import mask

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA75\nabc\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to jane.doe+x@mail.example.co.uk, please", "write to [EMAIL], please"),
        ("call +49 (0)30 1234567 now", "call [PHONE] now"),
        ("call 030/123456-78", "call [PHONE]"),
        ("call (555) 123-4567", "call [PHONE]"),
        ("call 555 123 4567", "call [PHONE]"),
        ("card 4111 1111 1111 1111, thanks", "card [CARD], thanks"),
        ("card 5500-0000-0000-0004", "card [CARD]"),
        ("378282246310005.", "[CARD]."),
        ("IBAN DE89 3704 0044 0532 0130 00 IS MINE", "IBAN [IBAN] IS MINE"),
        ("GB82WEST12345698765432", "[IBAN]"),
        ("from 203.0.113.7:80", "from [IP]:80"),
        ("at 2001:db8::8a2e:370:7334 and ::1", "at [IP] and [IP]"),
        ("at ::ffff:192.0.2.1", "at [IP]"),
        ("key sk-proj-abcDEF0123456789_-xyz end", "key [KEY] end"),
        ("sk-ant-api03-abcdefghijklmnop", "[KEY]"),
        ("AKIAIOSFODNN7EXAMPLE", "[KEY]"),
        ("ghp_" + "a1" * 18, "[KEY]"),
        ("xoxb-1234567890-abc", "[KEY]"),
        ("hf_" + "aB3" * 10, "[KEY]"),
        ("lgw_3kq0XbTz_" + "a1" * 20 + "_cafe0000", "[KEY]"),
        (f"token {JWT} end", "token [JWT] end"),
        ("Authorization: Bearer abc.def-123456", "Authorization: Bearer [SECRET]"),
        ("authorization: basic dXNlcjpwYXNz", "authorization: basic [SECRET]"),
        ('{"password": "hunter22!"}', '{"password": "[SECRET]"}'),
        ("API_KEY=0123456789abcdef x", "API_KEY=[SECRET] x"),
        ("postgres://me:pw@db/x", "postgres://[SECRET]@db/x"),
        (f"a\n{PEM}\nb", "a\n[PRIVATE_KEY]\nb"),
        (PEM[:50], "[PRIVATE_KEY]"),
        (f"half {JWT[:30]}", "half [JWT]"),
    ],
)
def test_what_is_masked(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "on 2026-11-21 at 12:30:45 we sold 1,234,567 of 10 000",
        "4111 1111 1111 1112",
        "DE00 3704 0044 0532 0130 00",
        "std::vector<int> a; b::c; ::",
        "version 1.2.3 of 10.11",
        "1700000000000 ns and 3.141592653589793",
        "the secret of a good token is its use",
        "ask @jane about a@b",
        "task-force skills and a risk-averse basic idea",
        "line 12345678",
    ],
)
def test_what_stays(text: str) -> None:
    assert mask(text) == text


@given(st.text(max_size=300))
def test_masking_takes_any_text_and_does_nothing_twice(text: str) -> None:
    once = mask(text)
    assert mask(once) == once


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "1",
        "1 ",
        "A1",
        "a.",
        "a@",
        "@a.",
        ":",
        "f:",
        "eyJ",
        "sk-",
        "bearer ",
        "key=",
        "://",
        "-----BEGIN ",
        "(1",
        "+1-",
    ],
)
def test_the_time_is_linear(piece: str) -> None:
    """Ten times the text takes about ten times as long; a pattern that backtracks would take a hundred."""

    def best_s(text: str) -> float:
        taken = []
        for _ in range(3):
            began_s = time.process_time()
            mask(text)
            taken.append(time.process_time() - began_s)
        return min(taken)

    short, long = piece * (4_000 // len(piece)), piece * (40_000 // len(piece))
    assert best_s(long) < 30 * best_s(short) + 0.05
