"""The shipped tokenizers: the data, their counts, and that nothing else is needed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import subprocess
import sys
import time
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.providers import tokens
from llmgateway_server.providers.tokens.encodings import ENCODINGS, encoding_of, load, tokens_of
from llmgateway_server.providers.tokens.tokenizer import count_text, pieces

pytest.importorskip("tiktoken", reason="the extra `tokenizer` is not installed")

PUBLISHED = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}
MIB = 1024 * 1024
GENEROUS_S = 20.0
"""Several times what the slowest text takes on a busy machine; without pieces it would be minutes, or a panic."""
ALONE = """
import sys
{first}
def no_network(event, arguments):
    if event.startswith("socket.") or event in ("urllib.Request", "http.client.connect"):
        sys.exit("reached for the network: " + event)
sys.addaudithook(no_network)
from llmgateway_server.providers.tokens.encodings import load
{then}
"""


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_shipped_tokens_are_those_that_openai_publishes(name: str) -> None:
    lines = (base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens_of(name)))
    assert hashlib.sha256(b"".join(lines)).hexdigest() == PUBLISHED[name]


def test_the_data_is_inside_the_package() -> None:
    data = files(tokens).joinpath("data")
    for name in ENCODINGS:
        assert 100_000 < len(data.joinpath(f"{name}.bpe.gz").read_bytes()) < 2_500_000
    assert "MIT License" in data.joinpath("README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        # from tiktoken's own tests and OpenAI's cookbook
        ("cl100k_base", "hello world", [15339, 1917]),
        ("cl100k_base", "tiktoken is great!", [83, 1609, 5963, 374, 2294, 0]),
        ("cl100k_base", "antidisestablishmentarianism", [519, 85342, 34500, 479, 8997, 2191]),
        ("cl100k_base", "2 + 2 = 4", [17, 489, 220, 17, 284, 220, 19]),
        ("cl100k_base", "rer", [38149]),
        ("cl100k_base", "'rer", [2351, 81]),
        ("cl100k_base", "today\n ", [31213, 198, 220]),
        ("cl100k_base", "today\n \n", [31213, 27907]),
        ("cl100k_base", "today\n  \n", [31213, 14211]),
        ("cl100k_base", " \x850", [220, 126, 227, 15]),
        ("o200k_base", "hello world", [24912, 2375]),
        ("o200k_base", "tiktoken is great!", [83, 8251, 2488, 382, 2212, 0]),
        ("o200k_base", "お誕生日おめでとう", [8930, 9697, 243, 128225, 8930, 17693, 4344, 48669]),
    ],
)
def test_known_texts_have_their_known_tokens(name: str, text: str, expected: list[int]) -> None:
    encoding = load(name)
    assert encoding is not None
    assert encoding.encode(text) == expected
    assert count_text(encoding, text).token_count == len(expected)


@pytest.mark.parametrize("name", ENCODINGS)
def test_names_of_special_tokens_in_a_text_are_text(name: str) -> None:
    encoding = load(name)
    assert encoding is not None
    for special in ENCODINGS[name].special_tokens:
        assert count_text(encoding, special).token_count > 3


async def test_it_is_loaded_once_however_many_ask() -> None:
    loaded = await asyncio.gather(*(encoding_of("o200k_base") for _ in range(8)))
    assert loaded[0] is not None
    assert all(encoding is loaded[0] for encoding in loaded)


@pytest.mark.parametrize("name", ["", "p50k_base", "../data", "llama3"])
async def test_an_unknown_name_has_no_tokenizer(name: str) -> None:
    assert await encoding_of(name) is None


def run_alone(first: str, then: str, **environment: str) -> str:
    code = ALONE.format(first=first, then=then)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_no_network_and_no_cache_is_needed() -> None:
    then = "print([len(load(name).encode('tiktoken is great!')) for name in ('cl100k_base', 'o200k_base')])"
    assert run_alone("", then, TIKTOKEN_CACHE_DIR="") == "[6, 6]"


def test_without_the_extra_there_is_no_tokenizer() -> None:
    assert run_alone("sys.modules['tiktoken'] = None", "print(load('o200k_base'))") == "None"


WORDS = st.sampled_from(["a", "B", "é", "ß", "字", "1", "22", " ", "  ", "\n", "\r\n", "\t", ".", "'s", "'", "-", "_"])
TEXTS = st.lists(st.one_of(WORDS, st.text(max_size=3)), max_size=60).map("".join)


@given(text=TEXTS, at_least=st.integers(1, 8), more=st.integers(0, 24))
def test_pieces_are_the_text_and_fit(text: str, at_least: int, more: int) -> None:
    found = [piece for piece, _ in pieces(text, at_least, at_least + more)]
    assert "".join(found) == text
    assert all(0 < len(piece) <= at_least + more for piece in found) or found == [""]


@given(text=TEXTS, name=st.sampled_from(sorted(ENCODINGS)), at_least=st.integers(1, 8), more=st.integers(0, 24))
def test_a_clean_cut_changes_no_count(text: str, name: str, at_least: int, more: int) -> None:
    encoding = load(name)
    assert encoding is not None
    cut = list(pieces(text, at_least, at_least + more))
    if all(clean for _, clean in cut):
        assert sum(len(encoding.encode_ordinary(piece)) for piece, _ in cut) == len(encoding.encode_ordinary(text))


def test_a_text_with_words_is_counted_exactly_in_many_pieces() -> None:
    encoding = load("o200k_base")
    assert encoding is not None
    text = "".join(f"Line {i}: the quick brown fox, (jumped) over-the lazy dog's {i * 7919}.\n" for i in range(4_000))
    counted = count_text(encoding, text)
    assert (counted.token_count, counted.exact) == (len(encoding.encode_ordinary(text)), True)


HOSTILE = {
    "one letter": "a" * MIB,
    "spaces": " " * MIB,
    "spaces before a word": " " * MIB + "x",
    "line ends": "\n" * MIB,
    "han": "".join(chr(0x4E00 + i * 7919 % 20_000) for i in range(MIB // 3)),
    "one word": "".join(chr(97 + i * i * 31 % 26) for i in range(MIB)),
    "base64": base64.b64encode(hashlib.shake_256(b"seed").digest(MIB * 3 // 4)).decode(),
    "combining": "a" + "\u0301" * (MIB // 2),
    "surrogates": "\ud800" * (MIB // 2),
}


@pytest.mark.parametrize("name", sorted(ENCODINGS))
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_takes_bounded_time(kind: str, name: str) -> None:
    encoding = load(name)
    assert encoding is not None
    started = time.thread_time()
    counted = count_text(encoding, HOSTILE[kind])
    assert time.thread_time() - started < GENEROUS_S / 8
    assert counted.token_count > 0


def test_a_cut_word_is_said_and_costs_a_few_tokens() -> None:
    encoding = load("o200k_base")
    assert encoding is not None
    text = HOSTILE["one word"][: MIB // 8]
    counted, whole, cuts = count_text(encoding, text), len(encoding.encode_ordinary(text)), len(text) // 16_384
    assert not counted.exact
    assert abs(counted.token_count - whole) <= 4 * cuts
