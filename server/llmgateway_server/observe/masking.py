"""Takes secrets and personal data of known forms out of a text. A form is a row; rows are tried in their order.

Masking errs on the side of masking: a long number that looks like a telephone number goes, too. What has no form, such
as names and addresses, stays: the result is less harmful, not harmless.

Every pattern is bounded, so that the time is linear in the text, whatever stands in it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Replace = Callable[[re.Match[str]], str]


@dataclass(slots=True, frozen=True)
class Form:
    """One kind of secret or personal data."""

    name: str
    """Stands in its place in brackets."""
    pattern: re.Pattern[str]
    hint: re.Pattern[str] | None
    """A cheap sign without which the pattern cannot match; None where the pattern itself is cheap."""
    replace: Replace


def mask(text: str) -> str:
    """Returns the text with `[FORM]` in the place of each secret and personal datum that is recognised."""
    for form in FORMS:
        if form.hint is None or form.hint.search(text) is not None:
            text = form.pattern.sub(form.replace, text)
    return text


def _whole(name: str) -> Replace:
    return lambda _match: f"[{name}]"


def _behind(name: str) -> Replace:
    """Keeps what the pattern's first group found: what kind of secret follows."""
    return lambda match: f"{match[1]}[{name}]"


def _if(name: str, holds: Callable[[str], bool]) -> Replace:
    return lambda match: f"[{name}]" if holds(match[0]) else match[0]


def is_card(text: str) -> bool:
    """Tells whether the digits have the check digit of a payment card (Luhn, ISO/IEC 7812-1 annex B)."""
    digits = [int(char) for char in reversed(text) if char.isdigit()]
    doubled = [digit * 2 for digit in digits[1::2]]
    return (
        len(set(digits)) > 1 and (sum(digits[::2]) + sum(each - 9 if each > 9 else each for each in doubled)) % 10 == 0
    )


def is_iban(text: str) -> bool:
    """Tells whether the check digits of an account number are right (ISO 13616, mod 97)."""
    compact = text.replace(" ", "")
    return int("".join(str(int(char, 36)) for char in compact[4:] + compact[:4])) % 97 == 1


def _iban(match: re.Match[str]) -> str:
    """Masks the longest beginning that is one: capitals may follow it."""
    text = match[0]
    for end in _ends(text):
        if is_iban(text[:end]):
            return f"[IBAN]{text[end:]}"
    return text


def _ends(text: str) -> Iterator[int]:
    """Yields where an account number of at least 15 characters may end, the last place first."""
    seen = 0
    places = []
    for at, char in enumerate(text, 1):
        seen += char != " "
        if seen >= 15 and char != " ":
            places.append(at)
    yield from reversed(places)


def _is_ipv6(text: str) -> bool:
    """Tells whether it is an address with a digit; without one it may be a name of C++."""
    try:
        return any(map(str.isdigit, text)) and ipaddress.IPv6Address(text).version == 6
    except ValueError:
        return False


def _is_phone(text: str) -> bool:
    """Tells whether digits are grouped as people write telephone numbers; dates and plain numbers are not."""
    groups = re.findall(r"\d+", text)
    count = sum(map(len, groups))
    if not 9 <= count <= 15 or DATE.match(text):
        return False
    return text[0] in "+0(" or (3 <= len(groups) <= 5 and all(2 <= len(group) <= 4 for group in groups))


DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
KEY_FORMS = (
    r"sk-[A-Za-z0-9_-]{16,512}",  # OpenAI, Anthropic, DeepSeek and others
    r"lgw_[A-Za-z0-9]{1,64}_[A-Za-z0-9_]{16,128}",  # this gateway
    r"(?:AKIA|ASIA)[0-9A-Z]{16}",  # AWS
    r"AIza[0-9A-Za-z_-]{30,64}",  # Google
    r"ya29\.[0-9A-Za-z_-]{16,512}",  # Google, OAuth
    r"gh[opsru]_[A-Za-z0-9]{20,255}",  # GitHub
    r"github_pat_[A-Za-z0-9_]{20,255}",
    r"glpat-[A-Za-z0-9_-]{16,255}",  # GitLab
    r"xox[abeoprs]-[A-Za-z0-9-]{10,255}",  # Slack
    r"(?:hf|gsk|xai|pplx|r8|npm|nvapi|tvly)[_-][A-Za-z0-9_-]{20,255}",  # Hugging Face, Groq, xAI, Perplexity, …
    r"(?:sk|rk|pk|whsec)_(?:live_|test_)?[A-Za-z0-9]{16,255}",  # Stripe
    r"pypi-[A-Za-z0-9_-]{32,512}",
)
FORMS = (
    Form(
        "PRIVATE_KEY",
        re.compile(
            r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,32}PRIVATE KEY-----|\Z)", re.DOTALL
        ),
        re.compile("-----BEGIN "),
        _whole("PRIVATE_KEY"),
    ),
    Form(
        "JWT",  # RFC 7519: its header is JSON, so it begins with `{"` in base64url
        re.compile(r"(?<![\w-])eyJ[\w-]{8,16384}(?:\.[\w-]{0,16384}){0,4}", re.ASCII),
        re.compile("eyJ"),
        _whole("JWT"),
    ),
    Form(
        "KEY",
        re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(KEY_FORMS)})", re.ASCII),
        None,
        _whole("KEY"),
    ),
    Form(
        "SECRET",
        re.compile(r"(?i)\b((?:bearer|basic)\s{1,4})[\w.~+/=-]{8,4096}"),
        re.compile("(?i)bearer|basic"),
        _behind("SECRET"),
    ),
    Form(
        "SECRET",
        re.compile(
            r"(?i)((?:api[_-]?key|access[_-]?key|secret|token|passw(?:or)?d|pwd)[\"']?\s{0,4}(?::=|=>|[:=])\s{0,4}[\"']?)"
            r"[^\s\"',;\[\]]{4,4096}"
        ),
        re.compile("(?i)key|secret|token|pass|pwd"),
        _behind("SECRET"),
    ),
    Form(
        "SECRET",
        re.compile(r"(\b[a-z][a-z0-9+.-]{0,20}://)[^\s/@]{1,256}@"),
        re.compile("://"),
        lambda match: f"{match[1]}[SECRET]@",
    ),
    Form(
        "EMAIL",
        re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[\w-]{2,63}"),
        re.compile("@"),
        _whole("EMAIL"),
    ),
    Form("IBAN", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b", re.ASCII), None, _iban),
    Form(
        "CARD",
        re.compile(r"(?<![\d.])\d(?:[ -]?\d){11,18}(?![\d])", re.ASCII),
        re.compile(r"\d[\d -]{10}", re.ASCII),
        _if("CARD", is_card),
    ),
    Form(
        "IP",
        re.compile(r"(?<![\w:])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]{1,38}(?:\.\d{1,3}){0,3}(?![\w:])"),
        re.compile(":[0-9A-Fa-f:]"),
        _if("IP", _is_ipv6),
    ),
    Form(
        "IP",
        re.compile(rf"(?<![\w.])(?:{OCTET}\.){{3}}{OCTET}(?!\w|\.\d)", re.ASCII),
        re.compile(r"\d\.\d", re.ASCII),
        _whole("IP"),
    ),
    Form(
        "PHONE",
        re.compile(r"(?<![\w+.])(?:\+\d|\(?\d)[\d ().\-/]{6,20}\d(?![\w])", re.ASCII),
        re.compile(r"\d[\d ().\-/]{6}", re.ASCII),
        _if("PHONE", _is_phone),
    ),
)
