"""The estimate: how near it comes, how fast it is, and what it never does."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.targets import Profile, Target
from llmgateway_server.providers.tokens.encodings import load
from llmgateway_server.providers.tokens.estimate import Family, estimate_text, family_of
from llmgateway_server.providers.tokens.tokenizer import count_text
from llmgateway_server.providers.tokens.traits import CHUNK, LATIN_TRAITS, TRAITS, traits_of

ROOT = Path(__file__).resolve().parents[3]
SENTENCES = {
    "English": "All of us have read the letter, but nobody remembers what the third paragraph was about. "
    "She asked whether the train would leave before noon; it did not, and we spent the day in a small café.",
    "German": "Wir haben den Brief alle gelesen, aber niemand weiß noch, worum es im dritten Absatz ging. "
    "Sie fragte, ob der Zug vor Mittag abfährt; er tat es nicht, und wir verbrachten den Tag im Café.",
    "French": "Nous avons tous lu la lettre, mais personne ne se rappelle de quoi parlait le troisième paragraphe. "
    "Elle a demandé si le train partirait avant midi, et nous avons passé la journée dans un petit café.",
    "Spanish": "Todos hemos leído la carta, pero nadie recuerda de qué trataba el tercer párrafo. "
    "Ella preguntó si el tren saldría antes del mediodía y pasamos el día en un pequeño café.",
    "Russian": "Мы все прочитали письмо, но никто не помнит, о чём был третий абзац. "
    "Она спросила, отправится ли поезд до полудня, и мы провели весь день в маленьком кафе.",
    "Chinese": "我们都读过那封信，但是没有人记得第三段讲的是什么。"
    "她问火车会不会在中午之前出发，结果没有，我们在一家小咖啡馆里待了一整天。",
    "Japanese": "私たちは皆その手紙を読みましたが、三番目の段落に何が書いてあったかは誰も覚えていません。"
    "彼女は電車が昼前に出るかどうか尋ねました。",
    "Korean": "우리는 모두 그 편지를 읽었지만 세 번째 단락이 무엇에 관한 것이었는지 아무도 기억하지 못합니다. "
    "그녀는 기차가 정오 전에 떠나는지 물었습니다.",
    "Arabic": "لقد قرأنا جميعا الرسالة، لكن لا أحد يتذكر عم كانت الفقرة الثالثة. سألت إن كان القطار سيغادر قبل الظهر.",
    "Hindi": "हम सबने वह पत्र पढ़ा है, लेकिन किसी को याद नहीं कि तीसरा अनुच्छेद "
    "किस बारे में था। उसने पूछा कि क्या ट्रेन दोपहर से पहले चलेगी।",
    "Greek": "Όλοι διαβάσαμε το γράμμα, αλλά κανείς δεν θυμάται "
    "για τι μιλούσε η τρίτη παράγραφος. Ρώτησε αν το τρένο φεύγει.",
}
CODE = ("server/llmgateway_server/core/messages.py", "protos/llmgateway/v1/message.proto", "pyproject.toml", "Makefile")
NS_PER_CHARACTER = 300
"""Ten times what it takes on a quiet machine."""


@pytest.mark.parametrize("family", [Family.O200K, Family.CL100K])
@pytest.mark.parametrize("language", SENTENCES)
def test_it_is_near_the_count_in_many_languages(language: str, family: Family) -> None:
    assert relative_error(SENTENCES[language], family) < 0.35


@pytest.mark.parametrize("family", [Family.O200K, Family.CL100K])
@pytest.mark.parametrize("file", CODE)
def test_it_is_near_the_count_of_code(file: str, family: Family) -> None:
    assert relative_error((ROOT / file).read_text("utf-8"), family) < 0.35


def test_it_is_nearer_than_bytes_by_four() -> None:
    pytest.importorskip("tiktoken")
    encoding = load("o200k_base")
    assert encoding is not None
    texts = list(SENTENCES.values())
    counts = [count_text(encoding, text).token_count for text in texts]
    ours = sorted(abs(estimate_text(t, Family.O200K) / n - 1) for t, n in zip(texts, counts, strict=True))
    by_four = sorted(abs(len(t.encode()) / 4 / n - 1) for t, n in zip(texts, counts, strict=True))
    assert ours[-2] < 0.25 < by_four[-2]


def relative_error(text: str, family: Family) -> float:
    pytest.importorskip("tiktoken")
    encoding = load(family)
    assert encoding is not None
    return abs(estimate_text(text, family) / count_text(encoding, text).token_count - 1)


@given(text=st.text(max_size=300), family=st.sampled_from(Family))
def test_every_character_has_its_place(text: str, family: Family) -> None:
    counts = dict(zip(TRAITS, traits_of(text), strict=True))
    beyond = sum(1 for character in text if ord(character) > 0xFF)
    assert sum(count for trait, count in counts.items() if trait not in LATIN_TRAITS) == beyond
    assert counts["digits"] == sum(character in "0123456789" for character in text)
    assert 0 <= estimate_text(text, family) <= 4 * len(text) + 1


@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_more_text_is_never_much_less(text: str) -> None:
    assert estimate_text(text + " more", Family.OTHER) >= estimate_text(text, Family.OTHER)


def test_words_and_digits_have_a_floor() -> None:
    assert estimate_text("a b c d e f g h " * 100, Family.O200K) >= 800
    assert estimate_text("7" * 3_000, Family.O200K) >= 1_000


def test_a_long_text_is_the_sum_of_its_chunks() -> None:
    text = "word 字 1\n" * 20_000
    assert len(text) > 2 * CHUNK
    chunks = [text[i : i + CHUNK] for i in range(0, len(text), CHUNK)]
    assert traits_of(text) == [sum(column) for column in zip(*map(traits_of, chunks), strict=True)]


@pytest.mark.parametrize("unit", ["a", " ", "word ", "字", "мир ", "ଓ", "😀", "\ud800", "=+/Zz9", "\n"])
def test_it_is_linear_and_fast(unit: str) -> None:
    text = unit * (8 * 1024 * 1024 // len(unit))
    started = time.thread_time()
    estimate_text(text, Family.OTHER)
    assert (time.thread_time() - started) / len(text) * 1e9 < NS_PER_CHARACTER


@pytest.mark.parametrize(
    ("model", "tokenizer", "family"),
    [
        ("gpt-4o", "o200k_base", Family.O200K),
        ("my-deployment", "cl100k_base", Family.CL100K),
        ("openai/gpt-5.2", "", Family.O200K),
        ("gpt-4-turbo", "", Family.CL100K),
        ("gpt-3.5-turbo", "", Family.CL100K),
        ("gpt-4.1-mini", "", Family.O200K),
        ("o4-mini", "", Family.O200K),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "", Family.ANTHROPIC),
        ("claude-3-5-haiku-latest", "", Family.ANTHROPIC),
        ("claude-sonnet-5", "", Family.ANTHROPIC_5),
        ("gemini-2.5-pro", "", Family.OTHER),
        ("qwen3:14b", "", Family.OTHER),
        ("llama3", "unheard-of", Family.OTHER),
    ],
)
def test_a_model_is_of_a_family(model: str, tokenizer: str, family: Family) -> None:
    assert family_of(Target("account", "any", model, profile=Profile(tokenizer=tokenizer))) is family
