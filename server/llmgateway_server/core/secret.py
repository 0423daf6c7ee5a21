"""A secret that cannot be printed, formatted or pickled by accident."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """Holds a secret text; only `reveal` gives it out, so every use can be found by that name."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Returns the secret. Call it where a header is built, nowhere else."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")
