"""Blocks calls and replies that contain listed terms. Linear time: one pass of an alternation of literals."""

from __future__ import annotations

import re
from collections.abc import Iterable


class DenyList:
    """Finds listed terms, whatever their case.

    Args:
        terms: literal texts, none empty.
    """

    name = "deny_list"

    def __init__(self, terms: Iterable[str]) -> None:
        folded = sorted({term.casefold() for term in terms if term}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, folded))) if folded else None
        self.window_chars = max(map(len, folded), default=1) - 1
        """Most characters at the end of a text that may be the beginning of a term."""

    def found_in(self, text: str) -> bool:
        """Tells whether `text` contains a term."""
        return self._pattern is not None and self._pattern.search(text.casefold()) is not None
