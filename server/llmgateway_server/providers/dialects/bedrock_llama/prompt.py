"""A conversation as the text that a model of Meta goes on writing. See `template`."""

from __future__ import annotations

from collections.abc import Sequence

from llmgateway_server.core.messages import Role
from llmgateway_server.providers.dialects.bedrock_invoke.turns import Turn
from llmgateway_server.providers.dialects.bedrock_llama.template import Template


def prompt_of(turns: Sequence[Turn], template: Template) -> str:
    """Returns the text; where the model spoke last, it goes on with its own words."""
    return template.begin + (_in_turns(turns, template) if template.turn else _in_pairs(turns))


def echoes_of(prompt: str, template: Template) -> tuple[str, ...]:
    """Returns what an answer that repeats its prompt begins with: all of it, or without tokens that are not shown."""
    shown = prompt.removeprefix(template.begin)
    bare = template.special.sub("", prompt) if template.turn else shown.replace("<s>", "").replace("</s>", "")
    return tuple(dict.fromkeys(echo for echo in (prompt, shown, bare) if echo.strip()))


def _in_turns(turns: Sequence[Turn], template: Template) -> str:
    said = [template.turn.format(role=turn.role.value, text=turn.text) for turn in turns]
    if turns and turns[-1].role is Role.ASSISTANT:
        return "".join(said[:-1]) + template.answer + turns[-1].text
    return "".join(said) + template.answer


def _in_pairs(turns: Sequence[Turn]) -> str:
    """Llama 2: instructions stand in the first question; a question and its answer are one sequence."""
    system = "".join(turn.text for turn in turns if turn.role is Role.SYSTEM)
    spoken = [turn for turn in turns if turn.role is not Role.SYSTEM]
    if not spoken or spoken[0].role is not Role.USER:
        spoken.insert(0, Turn(Role.USER, ""))
    question = f"<<SYS>>\n{system}\n<</SYS>>\n\n{spoken[0].text}" if system else spoken[0].text
    said = f"[INST] {question} [/INST]"
    for at, turn in enumerate(spoken[1:], 1):
        if turn.role is Role.USER:
            said += f"<s>[INST] {turn.text} [/INST]"
        else:
            said += f" {turn.text}" + (" </s>" if at + 1 < len(spoken) else "")
    return said
