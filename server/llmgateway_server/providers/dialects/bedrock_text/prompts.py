"""A conversation as the one text that a model goes on writing, or as the turns that it takes. See `families`.

A speaker cannot leave his place: what would begin or end a turn is broken up in what he says, with a notice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from llmgateway_server.core.messages import Role
from llmgateway_server.providers.dialects.bedrock_invoke.turns import BETWEEN, Turn

NEVER = re.compile(r"(?!)")


class Writing(Protocol):
    """How a family is told a conversation."""

    def fields(self, turns: Sequence[Turn]) -> dict[str, Any]:
        """Returns the fields of the body; instructions are the first turn, if there are any."""
        ...

    def harmless(self, text: str) -> str:
        """Returns what a speaker says without what would begin or end a turn."""
        ...


@dataclass(slots=True, frozen=True)
class Script:
    """Turns written one after the other, so that a model goes on with its own."""

    user: tuple[str, str]
    """Before and behind what the user says."""
    assistant: tuple[str, str]
    """Before and behind what the model said; it goes on behind its own words where it spoke last."""
    system: tuple[str, str] | None = None
    """Before and behind the instructions; None: they begin what the user says first."""
    answer: str = ""
    """What begins the turn of the model."""
    begin: str = ""
    """What stands before everything."""
    marks: re.Pattern[str] = NEVER
    """What would begin or end a turn; a blank behind its first character breaks it up."""
    key: str = "prompt"
    """The field of the body."""
    bare: bool = False
    """A single question without instructions needs nothing around it."""

    def fields(self, turns: Sequence[Turn]) -> dict[str, Any]:
        """See `Writing`."""
        if self.bare and len(turns) == 1 and turns[0].role is Role.USER:
            return {self.key: turns[0].text}
        system = "".join(turn.text for turn in turns if turn.role is Role.SYSTEM)
        spoken = [turn for turn in turns if turn.role is not Role.SYSTEM]
        text = self.begin
        if system and self.system is not None:
            text += system.join(self.system)
        elif system and spoken and spoken[0].role is Role.USER:
            spoken[0] = Turn(Role.USER, system + BETWEEN + spoken[0].text)
        elif system:
            spoken.insert(0, Turn(Role.USER, system))
        for turn in spoken:
            text += turn.text.join(self.assistant if turn.role is Role.ASSISTANT else self.user)
        if spoken and spoken[-1].role is Role.ASSISTANT:
            return {self.key: text.removesuffix(self.assistant[1])}
        return {self.key: text + self.answer}

    def harmless(self, text: str) -> str:
        """See `Writing`."""
        return self.marks.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


@dataclass(slots=True, frozen=True)
class CohereTurns:
    """The turns of Cohere's Command R: a message, what was said before it, and instructions."""

    def fields(self, turns: Sequence[Turn]) -> dict[str, Any]:
        """See `Writing`."""
        system = [turn.text for turn in turns if turn.role is Role.SYSTEM]
        said = [
            {"role": "CHATBOT" if turn.role is Role.ASSISTANT else "USER", "message": turn.text}
            for turn in turns
            if turn.role is not Role.SYSTEM
        ]
        fields: dict[str, Any] = {"message": said[-1]["message"] if said else ""}
        if said[:-1]:
            fields["chat_history"] = said[:-1]
        if system:
            fields["preamble"] = system[0]
        return fields

    def harmless(self, text: str) -> str:
        """The service tells turns apart."""
        return text


HUMAN = Script(
    user=("\n\nHuman: ", ""),
    assistant=("\n\nAssistant: ", ""),
    system=("", ""),
    answer="\n\nAssistant:",
    marks=re.compile(r"\n\n(?=(?:Human|Assistant):)"),
)
"""https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-text-completion.html"""
TITAN = Script(
    user=("User: ", "\n"),
    assistant=("Bot: ", "\n"),
    system=("", BETWEEN),
    answer="Bot:",
    marks=re.compile(r"\n(?=(?:User|Bot):)"),
    key="inputText",
    bare=True,
)
"""https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-text.html"""
DIALOGUE = Script(
    user=("User: ", "\n"),
    assistant=("Assistant: ", "\n"),
    system=("", BETWEEN),
    answer="Assistant:",
    marks=re.compile(r"\n(?=(?:User|Assistant):)"),
    bare=True,
)
"""For models of plain completion, which go on with any dialogue."""
INSTRUCT = Script(
    user=("[INST] ", " [/INST]"),
    assistant=(" ", "</s>"),
    begin="<s>",
    marks=re.compile(r"\[/?INST\]|</?s>"),
)
"""https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-mistral-text-completion.html"""
DEEPSEEK = Script(
    user=("<｜User｜>", ""),
    assistant=("<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
    system=("", ""),
    answer="<｜Assistant｜>",
    begin="<｜begin▁of▁sentence｜>",
    marks=re.compile(r"<｜[^｜<>]{1,64}｜>"),
)
"""https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-deepseek.html"""
