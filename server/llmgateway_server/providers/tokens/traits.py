"""What a text consists of, counted fast: the measure that `estimate` weighs.

Every trait is a number of characters or of places in the text. All are found by translating bytes through tables and
counting, which costs 15 to 35 ns per character and holds one chunk in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

CHUNK: Final = 65_536
"""Characters that are looked at together; a word across a border counts twice, which is nothing."""

_LOWER, _UPPER, _DIGITS = range(0x61, 0x7B), range(0x41, 0x5B), range(0x30, 0x3A)
_VOWELS = b"aeiouy"
_LATIN1 = (0xAA, 0xB5, 0xBA, *range(0xC0, 0xD7), *range(0xD8, 0xF7), *range(0xF8, 0x100))
_PUNCTUATION = tuple(byte for byte in range(0x21, 0x7F) if not chr(byte).isalnum())


def _table(default: str, *rows: tuple[Iterable[int], str]) -> bytes:
    table = bytearray(default.encode() * 256)
    for members, kind in rows:
        for byte in members:
            table[byte] = ord(kind)
    return bytes(table)


_KINDS = _table(
    "x",
    (_LOWER, "c"),
    (_VOWELS, "v"),
    (_UPPER, "U"),
    (_LATIN1, "l"),
    (_DIGITS, "0"),
    (b" ", " "),
    (b"\r\n", "n"),
    (_PUNCTUATION, "p"),
)
"""Each byte of Latin-1 by its kind; characters beyond Latin-1 come as `?`, which is `p`."""
_RUNS = _table(" ", (_LOWER, "a"), (_LATIN1, "a"), (_UPPER, "A"), (_DIGITS, "0"))
_WORDS = _table(" ", (_LOWER, "a"), (_LATIN1, "a"), (_UPPER, "a"), (_DIGITS, "0"))
_MARKS = _table(" ", (_PUNCTUATION, "p"))

LATIN_TRAITS: Final = (
    "words",
    "lower",
    "upper",
    "latin1",
    "humps",
    "clusters",
    "digits",
    "numbers",
    "marks",
    "mark_runs",
    "line_ends",
    "wide_spaces",
    "controls",
)
"""Of ASCII and Latin-1: runs of letters, lower and upper case, letters beyond ASCII, upper after lower case, three
consonants in a row (rare in words, common in random text), digits and their runs, punctuation and its runs, runs of
line ends, pairs of spaces, and all else."""
WORDS, DIGITS = LATIN_TRAITS.index("words"), LATIN_TRAITS.index("digits")
LETTERS, NUMBERS, OTHERS = slice(0, 6), slice(6, 8), slice(8, None)
"""Places in `TRAITS`."""

_ASTRAL = "astral"
_IGNORED = "ignored"
_RARE = "rare"
_HALVES: dict[int, tuple[str, str]] = {
    0x03: ("combining", "greek"),
    0x05: ("armenian", "hebrew"),
    0x09: ("devanagari", "bengali"),
    0x0A: ("gurmukhi", "gujarati"),
    0x0B: ("odia", "tamil"),
    0x0C: ("telugu", "kannada"),
    0x0D: ("malayalam", "sinhala"),
    0x0E: ("thai", "lao"),
    0x10: ("myanmar", "georgian"),
    0x17: (_RARE, "khmer"),
    0x30: ("kana", "kana"),
}
"""Scripts by the high byte of their UTF-16 units, and by the half of the 256 in which the low byte stands."""
_RANGES = (
    (range(0x01, 0x03), "latin_extended"),
    (range(0x04, 0x05), "cyrillic"),
    (range(0x06, 0x08), "arabic"),
    (range(0x1E, 0x1F), "latin_additional"),
    (range(0x1F, 0x20), "greek"),
    (range(0x20, 0x30), "symbols"),
    (range(0x31, 0xA0), "han"),
    (range(0xAC, 0xD8), "hangul"),
    (range(0xD8, 0xDC), _ASTRAL),
    (range(0xDC, 0xE0), _IGNORED),
    (range(0xF9, 0xFB), "han"),
    (range(0xFE, 0xFF), "symbols"),
    (range(0xFF, 0x100), "full_width"),
)
_SCRIPT_OF_HIGH = {high: (script, script) for highs, script in _RANGES for high in highs} | _HALVES
_FREQUENT = ("han", "kana", "cyrillic", "latin_extended", "symbols", "hangul", "arabic", _ASTRAL)
SCRIPT_TRAITS: Final = tuple(
    dict.fromkeys(
        (
            *_FREQUENT,
            *(script for pair in _SCRIPT_OF_HIGH.values() for script in pair if script != _IGNORED),
            _RARE,
        )
    )
)
"""Characters beyond Latin-1 by script; `astral` are those beyond U+FFFF, mostly emoji; `rare` is all without a name."""
TRAITS: Final = LATIN_TRAITS + SCRIPT_TRAITS

_PAIRS = tuple(dict.fromkeys(_SCRIPT_OF_HIGH.get(high, (_RARE, _RARE)) for high in range(1, 256)))
_CODES = {pair: 2 * number for number, pair in enumerate(_PAIRS, start=1)}
_HIGHS = bytes((0, *(_CODES[_SCRIPT_OF_HIGH.get(high, (_RARE, _RARE))] for high in range(1, 256))))
_LOW_HALVES = bytes(low >> 7 for low in range(256))
_CODES_OF_SCRIPT = {
    script: tuple(code + half for pair, code in _CODES.items() for half in (0, 1) if pair[half] == script)
    for script in (*SCRIPT_TRAITS, _IGNORED)
}


def traits_of(text: str) -> list[int]:
    """Returns how often each of `TRAITS` occurs, in their order; never negative."""
    totals = [0] * len(TRAITS)
    for start in range(0, len(text), CHUNK):
        for i, count in enumerate(_traits_of_chunk(text[start : start + CHUNK])):
            totals[i] += count
    return totals


def _traits_of_chunk(text: str) -> list[int]:
    scripts = [0] * len(SCRIPT_TRAITS) if text.isascii() else _scripts(text)
    narrow = text.encode("latin-1", "replace")
    kinds, runs, words = narrow.translate(_KINDS), narrow.translate(_RUNS), narrow.translate(_WORDS)
    line_ends = kinds.count(b"n")
    return [
        words.count(b" a") + words.count(b"0a") + words.startswith(b"a"),
        kinds.count(b"v") + kinds.count(b"c"),
        kinds.count(b"U"),
        kinds.count(b"l"),
        runs.count(b"aA"),
        kinds.count(b"ccc"),
        kinds.count(b"0"),
        words.count(b" 0") + words.count(b"a0") + words.startswith(b"0"),
        max(0, kinds.count(b"p") - sum(scripts)),
        narrow.translate(_MARKS).count(b" p"),
        line_ends - kinds.count(b"nn"),
        kinds.count(b"  "),
        kinds.count(b"x"),
        *scripts,
    ]


def _scripts(text: str) -> list[int]:
    """Counts the scripts by the bytes of UTF-16; stops when every character is accounted for."""
    units = text.encode("utf-16-le", "surrogatepass")
    highs, lows = units[1::2].translate(_HIGHS), units[0::2].translate(_LOW_HALVES)
    # one big number instead of a loop: each byte of it is a script's code and the half
    both = int.from_bytes(highs, "little") | int.from_bytes(lows, "little")
    codes = both.to_bytes(len(highs), "little")
    left = len(codes) - codes.count(0) - codes.count(1)
    counts = [0] * len(SCRIPT_TRAITS)
    for i, script in enumerate(SCRIPT_TRAITS):
        if left <= 0:
            break
        counts[i] = sum(codes.count(code) for code in _CODES_OF_SCRIPT[script])
        left -= counts[i]
        if script == _ASTRAL:
            left -= sum(codes.count(code) for code in _CODES_OF_SCRIPT[_IGNORED])
    return counts
