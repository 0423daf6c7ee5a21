"""The text that Meta's models were taught to read, one template for each generation.

Sources: https://github.com/meta-llama/llama/blob/main/llama/generation.py,
https://github.com/meta-llama/llama-models/blob/main/models/llama3/prompt_format.md and llama4/prompt_format.md
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Template:
    """How a conversation is written, and by what its answer is over."""

    models: re.Pattern[str]
    """Found in the ids of the models that read it."""
    begin: str
    """The token before everything; answers may repeat the text without it."""
    special: re.Pattern[str]
    """Tokens that have a meaning of their own; a speaker must not say them."""
    ends: tuple[str, ...]
    """Tokens after which the model's turn is over; they are no text of it."""
    opens: str = ""
    """Where an end is also a tag of HTML: the tag that it closes, after which it is text."""
    turn: str = ""
    """A whole turn of `{role}` who says `{text}`; empty where the turns are written in pairs."""
    answer: str = ""
    """What begins the turn of the model; empty where the turns are written in pairs."""


LLAMA_2 = Template(
    models=re.compile(r"llama-?2", re.IGNORECASE),
    begin="<s>",
    special=re.compile(r"\[/?INST\]|<</?SYS>>|</?s>"),
    ends=("</s>",),
    opens="<s>",
)
LLAMA_3 = Template(
    models=re.compile(r"llama-?3", re.IGNORECASE),
    begin="<|begin_of_text|>",
    special=re.compile(r"<\|\w{1,64}\|>"),
    ends=("<|eot_id|>", "<|end_of_text|>", "<|eom_id|>", "<|start_header_id|>"),
    turn="<|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|>",
    answer="<|start_header_id|>assistant<|end_header_id|>\n\n",
)
LLAMA_4 = Template(
    models=re.compile(r"llama-?4", re.IGNORECASE),
    begin="<|begin_of_text|>",
    special=re.compile(r"<\|\w{1,64}\|>"),
    ends=("<|eot|>", "<|end_of_text|>", "<|eom|>", "<|header_start|>"),
    turn="<|header_start|>{role}<|header_end|>\n\n{text}<|eot|>",
    answer="<|header_start|>assistant<|header_end|>\n\n",
)
TEMPLATES = (LLAMA_2, LLAMA_3, LLAMA_4)


OF_A_VENDOR = re.compile(r"[a-z0-9-]+\.")
"""How the id of a model begins that is no ARN: with its vendor, or with a region and its vendor."""


def template_of(model: str) -> Template | None:
    """Returns the template of a model; None for another vendor's. What its id does not tell is taken for Llama 3."""
    known = next((template for template in TEMPLATES if template.models.search(model)), None)
    return known or (None if OF_A_VENDOR.match(model) else LLAMA_3)


def harmless(text: str, template: Template) -> str:
    """Returns what a speaker says without special tokens: a blank breaks each of them up."""
    return template.special.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
