"""What is new in an answer, and nothing else. See `bedrock_llama`.

An answer may begin with its prompt, and each chunk of a stream may hold all that was said before it, the prompt too.
And a model that does not end its turn goes on with turns of others, behind the token that should have ended it.

Text is dropped only where it can be nothing else. Whether chunks add up or repeat is told by the chunks themselves: one
that does not begin with all that was said before it adds to it. As long as all do, both are possible, and what both
would say is handed out. That they repeat is certain once one begins with the whole prompt again, or once they would add
up to more words than there are tokens: no token holds parts of two words.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from unicodedata import category

from llmgateway_server.providers.dialects.bedrock_llama.template import Template

STILL_CHUNKS = 4
"""So many chunks in a row that repeat without anything new are text that repeats itself: a character has at most four
bytes, so fewer may be tokens of one that is not whole yet."""
MOST_TOKEN_BYTES = 128
"""Longest token of the models' vocabularies."""


class Said:
    """What an answer says: without the prompt that it may begin with, up to where its turn ends.

    Args:
        echoes: what the answer may begin with.
        template: of the model.
    """

    def __init__(self, echoes: tuple[str, ...], template: Template) -> None:
        self._echoes = echoes
        self._template = template
        self._held = ""
        """Text that may be a part of the prompt or of a token that ends the turn."""
        self._begun = not echoes
        self._opened = 0
        """Tags of HTML that an end would close."""
        self.over = False
        """Whether the turn has ended in the text; what follows is not the model's answer."""

    def add(self, text: str) -> str:
        """Returns what is surely said."""
        if self.over:
            return ""
        text, self._held = self._held + text, ""
        if not self._begun:
            if any(echo.startswith(text) and echo != text for echo in self._echoes):
                self._held = text
                return ""
            text = text.removeprefix(next((echo for echo in self._echoes if text.startswith(echo)), ""))
            self._begun = True
        return self._up_to_end(text)

    def end(self) -> str:
        """Returns what was held back and turned out to be text."""
        said = ""
        if not self._begun:  # it began as the prompt does, but is not the prompt
            self._begun = True
            held, self._held = self._held, ""
            said = self._up_to_end(held)
        held, self._held = self._held, ""
        return said + ("" if self.over else held)

    def _up_to_end(self, text: str) -> str:
        at, said = 0, text
        while (found := self._next_tag(text, at)) is not None:
            at, tag = found
            if tag == self._template.opens:
                self._opened += 1
            elif self._opened:
                self._opened -= 1
            else:
                self.over = True
                return text[:at]
            at += len(tag)
        held = _unfinished(text[at:], (*self._template.ends, self._template.opens))
        if held:
            said, self._held = text[:-held], text[-held:]
        return said

    def _next_tag(self, text: str, start: int) -> tuple[int, str] | None:
        tags = (tag for tag in (*self._template.ends, self._template.opens) if tag)
        places = [(at, tag) for tag in tags if (at := text.find(tag, start)) >= 0]
        return min(places, default=None)


class SaidInChunks:
    """What a stream says, whether its chunks add up or each repeats what was said.

    Args:
        echoes: what the answer may begin with.
        template: of the model.
    """

    def __init__(self, echoes: tuple[str, ...], template: Template) -> None:
        self._echoes = echoes
        self._template = template
        self._said = self._new()
        self._repeats: bool | None = None
        """None: not known yet."""
        self._added = ""
        """All chunks together, until it is known what they are."""
        self._whole = ""
        """The last chunk, which would be all that was said if chunks repeat."""
        self._given = 0
        """Characters that were handed out while both were possible."""
        self._tokens = 0
        self._still = 0

    @property
    def over(self) -> bool:
        """Whether the turn has ended in the text."""
        return self._said.over

    def add(self, chunk: str, token_count: int | None) -> str:
        """Returns what is surely new.

        Args:
            chunk: as it came.
            token_count: tokens of the answer so far; they are one for each chunk at the least.
        """
        if not chunk:
            return ""
        self._tokens = max(self._tokens + 1, token_count or 0)
        if self._repeats is None:
            return self._weigh(chunk)
        if self._repeats:
            more = chunk.removeprefix(self._whole)
            chunk, self._whole = more, chunk if more != chunk else self._whole + chunk
        return self._said.add(chunk)

    def end(self) -> str:
        """Returns what was held back and turned out to be text."""
        said = self._settle(repeats=False) if self._repeats is None else ""
        return said + self._said.end()

    def _new(self) -> Said:
        return Said(self._echoes, self._template)

    def _weigh(self, chunk: str) -> str:
        repeats, self._still = chunk.startswith(self._whole), self._still + 1 if chunk == self._whole else 0
        self._added += chunk
        if not repeats or self._still >= STILL_CHUNKS:
            return self._settle(repeats=False)
        is_first, self._whole = not self._whole, chunk
        if not is_first and (chunk.startswith(self._echoes) or self._is_too_much()):
            return self._settle(repeats=True)
        surely = _common_beginning(self._new().add(self._added), self._new().add(chunk))
        said, self._given = surely[self._given :], len(surely)
        return said

    def _settle(self, *, repeats: bool) -> str:
        self._repeats = repeats
        said = self._said.add(self._whole if repeats else self._added)[self._given :]
        self._added = ""
        return said

    def _is_too_much(self) -> bool:
        """Tells whether the chunks together would be more than there are tokens."""
        sum_of_chunks = self._new()
        text = sum_of_chunks.add(self._added) + sum_of_chunks.end()
        return least_token_count(text) > self._tokens


def _common_beginning(one: str, other: str) -> str:
    shorter = min(one, other, key=len)
    differs = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(shorter))
    return shorter[:differs]


def least_token_count(text: str) -> int:
    """Returns how many tokens a text has at the least: none holds letters of two words, and none is endless."""
    words = sum(is_word for is_word, _ in groupby(text, key=_is_of_word))
    return max(words, -(-len(text.encode(errors="replace")) // MOST_TOKEN_BYTES))


def _is_of_word(character: str) -> bool:
    """Tells whether a character is a letter, or a mark or a joiner, which stand inside words."""
    kind = category(character)
    return kind[0] in "LM" or kind == "Cf"


def _unfinished(text: str, tags: Sequence[str]) -> int:
    """Returns the length of the longest end of a text that a tag begins with."""
    longest = max(map(len, tags)) - 1
    for size in range(min(longest, len(text)), 0, -1):
        if any(tag.startswith(text[-size:]) for tag in tags):
            return size
    return 0
