"""What is new in an answer of Meta's models: no repetition passes, and no text is lost."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmgateway_server.core.messages import Role
from llmgateway_server.providers.dialects.bedrock_invoke.turns import Turn
from llmgateway_server.providers.dialects.bedrock_llama.prompt import echoes_of, prompt_of
from llmgateway_server.providers.dialects.bedrock_llama.said import Said, SaidInChunks, least_token_count
from llmgateway_server.providers.dialects.bedrock_llama.template import LLAMA_2, LLAMA_3, LLAMA_4, Template
from tests.unit.dialects.kit import SAID, pieces

TEMPLATES = {"2": LLAMA_2, "3": LLAMA_3, "4": LLAMA_4}
TURNS = [Turn(Role.SYSTEM, "Be brief."), Turn(Role.USER, "What is it?")]
GENERATIONS = pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
REPETITIVE = st.text("ab \n<|s>/", max_size=12)
"""Texts in which pieces often begin as others do, and tokens nearly stand."""
FEW = settings(deadline=None, max_examples=150)


def echoes(template: Template) -> tuple[str, ...]:
    return echoes_of(prompt_of(TURNS, template), template)


def heard(chunks: list[str], template: Template, counts: list[int | None] | None = None) -> str:
    """Returns what is said of chunks; each is asked for as soon as it is there."""
    said = SaidInChunks(echoes(template), template)
    given_counts = counts or [None] * len(chunks)
    text = "".join(said.add(piece, count) for piece, count in zip(chunks, given_counts, strict=True))
    return text + said.end()


def honest(chunks: list[str]) -> list[int | None]:
    """Returns counts as the service tells them: at least as many tokens as the text can have."""
    return [sum(max(1, least_token_count(piece)) for piece in chunks[: at + 1]) for at in range(len(chunks))]


def is_plain(text: str, template: Template) -> bool:
    """Tells whether a text neither repeats the prompt nor ends its turn."""
    return not text.startswith(echoes(template)) and not any(end in text for end in template.ends)


# ---------------------------------------------------------------------------------------------------------------------
# No text is lost
# ---------------------------------------------------------------------------------------------------------------------


@GENERATIONS
@FEW
@given(st.data())
def test_chunks_that_add_up_are_said_as_they_are(template: Template, data: st.DataObject) -> None:
    text = data.draw((SAID | REPETITIVE).filter(lambda said: is_plain(said, template)))
    chunks = data.draw(pieces(text))
    assert heard(chunks, template, honest(chunks)) == text


@FEW
@given(st.text("ab ", min_size=1, max_size=3), st.integers(1, 9), st.integers(1, 3))
@example("ha", 3, 1)
@example("\n", 2, 1)
@example("= ", 8, 2)
def test_text_that_repeats_itself_is_no_repetition(word: str, times: int, at_once: int) -> None:
    chunks = [word * min(at_once, times - start) for start in range(0, times, at_once)]
    assert heard(chunks, LLAMA_3, honest(chunks)) == word * times


@GENERATIONS
@FEW
@given(st.data())
def test_a_whole_answer_is_said_as_it_is(template: Template, data: st.DataObject) -> None:
    text = data.draw((SAID | REPETITIVE).filter(lambda said: is_plain(said, template)))
    said = Said(echoes(template), template)
    assert said.add(text) + said.end() == text


@pytest.mark.parametrize(
    "text",
    ["<s>old</s> new", "a <s>x</s> b <s>y</s>", "<s><s>twice</s></s>", "1 < 2", "[INST]", "</", "<", "<s>never closed"],
)
def test_tags_of_html_are_text(text: str) -> None:
    for chunks in ([text], list(text)):
        assert heard(chunks, LLAMA_2, honest(chunks)) == text


@GENERATIONS
def test_an_answer_that_begins_as_its_prompt_is_no_repetition(template: Template) -> None:
    for echo in echoes(template):
        for text in (echo[:-1], echo[:5] + "!", echo[:1]):
            if is_plain(text, template):
                assert heard(list(text), template, honest(list(text))) == text


# ---------------------------------------------------------------------------------------------------------------------
# No repetition passes
# ---------------------------------------------------------------------------------------------------------------------


@GENERATIONS
@FEW
@given(st.data())
def test_chunks_that_repeat_the_conversation_say_what_is_new(template: Template, data: st.DataObject) -> None:
    text = data.draw(SAID.filter(lambda said: is_plain(said, template)))
    echo = data.draw(st.sampled_from(echoes(template)))
    chunks = [echo + "".join(found) for found in itertools.accumulate([[piece] for piece in data.draw(pieces(text))])]
    counts: list[int | None] = list(range(1, len(chunks) + 1))
    assert heard(chunks, template, counts) == text
    assert heard([echo, *chunks], template, [0, *counts]) == text


@GENERATIONS
@FEW
@given(st.data())
def test_a_prompt_before_the_answer_is_left_out(template: Template, data: st.DataObject) -> None:
    text = data.draw(SAID.filter(lambda said: is_plain(said, template)))
    echo = data.draw(st.sampled_from(echoes(template)))
    chunks = data.draw(pieces(echo + text))
    counts: list[int | None] = [sum(map(len, chunks[: at + 1])) for at in range(len(chunks))]
    assert heard(chunks, template, counts) == text
    said = Said(echoes(template), template)
    assert said.add(echo + text) + said.end() == text


@pytest.mark.parametrize("words", [["The", " phrase", " is", " old", "."], ["\n", "\n", "Yes", ",", " it", " does"]])
@pytest.mark.parametrize("counted", [True, False])
def test_answers_that_grow_from_chunk_to_chunk_are_said_once(words: list[str], counted: bool) -> None:
    chunks = list(itertools.accumulate(words))
    counts: list[int | None] = [at + 1 if counted else None for at in range(len(chunks))]
    assert heard(chunks, LLAMA_3, counts) == "".join(words)


def test_growing_answers_are_told_before_their_end() -> None:
    said = SaidInChunks((), LLAMA_3)
    grown = itertools.accumulate(["One", " two", " three", " four"])
    told = [said.add(piece, at + 1) for at, piece in enumerate(grown)]
    assert told == ["One", "", " two three", " four"]


def test_a_chunk_that_does_not_repeat_adds_to_those_that_did() -> None:
    chunks = ["One", "One two", "One two three", " four", "One two three four five"]
    assert heard(chunks, LLAMA_3, [1, 2, 3, 4, 5]) == "One two three four five"


def test_the_count_of_tokens_decides_where_chunks_do_not() -> None:
    assert heard(["a b", "a b c"], LLAMA_3, [9, 9]) == "a ba b c"
    assert heard(["a b", "a b c"], LLAMA_3, [2, 3]) == "a b c"
    assert heard(["ab", "ab"], LLAMA_3, [0, 0]) == "abab"


# ---------------------------------------------------------------------------------------------------------------------
# The end of the turn
# ---------------------------------------------------------------------------------------------------------------------


@GENERATIONS
@FEW
@given(st.data())
def test_turns_of_others_are_not_the_answer(template: Template, data: st.DataObject) -> None:
    text = data.draw(SAID.filter(lambda said: is_plain(said, template) and "<" not in said))
    end = data.draw(st.sampled_from(template.ends))
    chunks = data.draw(pieces(text + end + data.draw(SAID)))
    assert heard(chunks, template, honest(chunks)) == text


@given(st.text("<|eot_id>", max_size=20))
def test_what_nearly_ends_the_turn_is_text(text: str) -> None:
    expected = text.partition("<|eot_id|>")[0]
    assert heard(list(text), LLAMA_3, honest(list(text))) == expected


def test_letters_of_two_words_are_two_tokens() -> None:
    assert [least_token_count(text) for text in ("", "...", "one", "one two", "नमस्ते", "x" * 300)] == [0, 1, 1, 2, 1, 3]
