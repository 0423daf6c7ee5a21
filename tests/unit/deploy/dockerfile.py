"""Reads a Dockerfile and a .dockerignore, as far as ours use them: no heredocs, no variables but the base's."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import PurePosixPath


@dataclass(slots=True, frozen=True)
class Instruction:
    """One instruction; `flags` are its `--name=value` options, `words` what follows them."""

    name: str
    flags: tuple[str, ...]
    text: str

    @property
    def words(self) -> list[str]:
        """The arguments: of the JSON form the array, otherwise as a shell splits them."""
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)

    def flag(self, name: str) -> str:
        """Returns the value of the flag, or nothing."""
        return next((each.partition("=")[2] for each in self.flags if each.startswith(f"--{name}=")), "")


@dataclass(slots=True)
class Stage:
    """The instructions from one FROM to the next."""

    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[Instruction]:
        return [each for each in self.instructions if each.name == name]

    def one(self, name: str) -> Instruction:
        """Returns the only instruction of this name."""
        (found,) = self.all(name)
        return found


def instructions(text: str) -> list[Instruction]:
    """Splits a Dockerfile."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        name, _, rest = line.strip().partition(" ")
        flags = []
        while rest.startswith("--"):
            flag, _, rest = rest.partition(" ")
            flags.append(flag)
            rest = rest.lstrip()
        if name:
            found.append(Instruction(name.upper(), tuple(flags), rest.strip()))
    return found


def stages(text: str) -> list[Stage]:
    """Returns the stages; the base of each is filled in from the arguments above the first."""
    arguments: dict[str, str] = {}
    found: list[Stage] = []
    for each in instructions(text):
        if each.name == "FROM":
            base, _, name = each.text.partition(" AS ")
            found.append(Stage(name, re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], base)))
        elif found:
            found[-1].instructions.append(each)
        else:
            name, _, value = each.text.partition("=")
            arguments[name] = value
    return found


class Ignore:
    """The rules of a .dockerignore: the last one that fits a path, or a folder above it, decides.

    https://docs.docker.com/build/concepts/context/#dockerignore-files
    """

    def __init__(self, text: str) -> None:
        rules = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        self._rules = [(rule.startswith("!"), _pattern(rule.removeprefix("!"))) for rule in rules]

    def sends(self, path: str) -> bool:
        """Says whether the file is sent to the builder."""
        names = [path, *(str(parent) for parent in PurePosixPath(path).parents if parent.name)]
        sent = True
        for sends, pattern in self._rules:
            if any(pattern.fullmatch(name) for name in names):
                sent = sends
        return sent


def _pattern(rule: str) -> re.Pattern[str]:
    parts = [re.escape(part).replace(r"\*", "[^/]*").replace(r"\?", "[^/]") for part in rule.strip("/").split("**/")]
    return re.compile("(?:.*/)?".join(parts))
