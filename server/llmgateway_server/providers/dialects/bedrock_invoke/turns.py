"""A conversation as turns of text, for models that read one text or a few fields of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmgateway_server.core.messages import Message, Role
from llmgateway_server.providers.dialects.bedrock_invoke.text_only import texts_of
from llmgateway_server.providers.dialects.dialect import Unsupported

BETWEEN = "\n\n"
"""Stands between what one speaker says in several messages."""
INSTRUCTIONS = (Role.SYSTEM, Role.DEVELOPER)


@dataclass(slots=True, frozen=True)
class Turn:
    """What one speaker says: SYSTEM for all instructions, USER or ASSISTANT."""

    role: Role
    text: str


def turns_of(
    messages: Sequence[Message], harmless: Callable[[str], str], unsupported: Unsupported, *, system_first: bool
) -> list[Turn]:
    """Returns the turns; messages of one speaker that follow one another are one, and empty ones are none.

    Args:
        messages: in order.
        harmless: breaks up what a speaker must not say, because it would end the turn.
        unsupported: gets what is no text, and what is said in another way.
        system_first: whether all instructions are one turn before the others.
    """
    turns: list[Turn] = []
    for m, (speaker, text) in enumerate(texts_of(messages, unsupported)):
        if not text:
            continue
        role = Role.SYSTEM if speaker in INSTRUCTIONS else speaker
        at = len(turns)
        if role is Role.SYSTEM and system_first:
            if any(turn.role is not Role.SYSTEM for turn in turns):
                unsupported.changed(f"messages[{m}]", "was moved before the conversation: instructions stand there")
            at = min(at, 1)
        before = turns[at - 1] if at else None
        goes_on = before is not None and before.role is role
        said = before.text + BETWEEN + text if before is not None and goes_on else text
        if (safe := harmless(said)) != said:
            unsupported.changed(f"messages[{m}]", "was changed: what would end its turn is broken up")
        if goes_on:
            turns[at - 1] = Turn(role, safe)
        else:
            turns.insert(0 if role is Role.SYSTEM and system_first else at, Turn(role, safe))
    return turns
