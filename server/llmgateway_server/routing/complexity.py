"""How hard a request is, as a number from 0 to 1 that chooses a tier.

    complexity = 1 − (1 − 0.5·length) · (1 − 0.3·turns) · (1 − 0.5·tools) · (1 − 0.4·code) · (1 − 0.7·reasoning)

    length    = min(1, input tokens ÷ 4,000)                 estimated
    turns     = min(1, messages of the user and of tools beyond the first ÷ 10)
    tools     = min(1, tools ÷ 4)
    code      = 1 with a fenced block or two signs of code, else 0
    reasoning = by the effort: low 0.3, medium 0.6, high and max 1; by a budget of tokens ÷ 16,384;
                else 0.5 where the last message asks for it in English words ("step by step", "prove that")

Each sign takes its share of what the others leave, so that more of anything never makes a request simpler. Only the
beginning of each text is looked at, and only so many texts, the newest first: the cost does not grow with the request.
It is a guess by form. It knows nothing of the subject.
"""

from __future__ import annotations

from collections.abc import Iterator

from llmgateway_server.core.messages import Message, Role, TextPart
from llmgateway_server.core.requests import CompleteRequest
from llmgateway_server.core.usage import estimate_token_count

SIMPLE_UP_TO = 0.3
MEDIUM_UP_TO = 0.6

LENGTH_SHARE, FULL_LENGTH_TOKENS = 0.5, 4000
TURNS_SHARE, FULL_TURNS = 0.3, 10
TOOLS_SHARE, FULL_TOOLS = 0.5, 4
CODE_SHARE = 0.4
REASONING_SHARE, FULL_BUDGET_TOKENS = 0.7, 16_384

EFFORTS = {"low": 0.3, "medium": 0.6, "high": 1.0, "max": 1.0}
"""Any other effort, or none, is no sign."""
ASKED = 0.5
ASKS = (
    "step by step",
    "prove that",
    "proof of",
    "derive ",
    "think carefully",
    "reason about",
    "trade-off",
    "root cause",
)
FENCE = "```"
CODE_SIGNS = (
    "def ",
    "class ",
    "import ",
    "return ",
    "#include",
    "function ",
    "public static",
    "func ",
    "=> {",
    "();",
    "SELECT ",
    "</",
)
"""One may stand in any prose; two make code."""

MAX_TEXT_CHARS = 4096
"""Of each text."""
MAX_LOOKED_AT_CHARS = 8192
"""Of a request."""
MAX_LOOKED_AT_MESSAGES = 64


def complexity_of(request: CompleteRequest) -> float:
    """Returns the complexity of a request, 0 to 1; see the module."""
    texts = list(_newest_texts(request.messages))
    simple = 1.0 - LENGTH_SHARE * min(1.0, estimate_token_count(request.input_byte_count) / FULL_LENGTH_TOKENS)
    simple *= 1.0 - TURNS_SHARE * min(1.0, _turns(request.messages) / FULL_TURNS)
    simple *= 1.0 - TOOLS_SHARE * min(1.0, len(request.tools) / FULL_TOOLS)
    if _has_code(texts):
        simple *= 1.0 - CODE_SHARE
    simple *= 1.0 - REASONING_SHARE * _reasoning(request)
    return 1.0 - simple


def tier_for(complexity: float, simple_up_to: float = SIMPLE_UP_TO, medium_up_to: float = MEDIUM_UP_TO) -> str:
    """Returns the least tier that suits: `BASIC`, `STANDARD` or `PREMIUM`.

    Args:
        complexity: 0 to 1.
        simple_up_to: at most this complex is simple.
        medium_up_to: at most this complex is medium; not below `simple_up_to`.
    """
    if complexity <= simple_up_to:
        return "BASIC"
    return "STANDARD" if complexity <= medium_up_to else "PREMIUM"


def _newest_texts(messages: list[Message]) -> Iterator[str]:
    left = MAX_LOOKED_AT_CHARS
    for message in messages[: -MAX_LOOKED_AT_MESSAGES - 1 : -1]:
        for part in message.parts[:MAX_LOOKED_AT_MESSAGES]:
            if isinstance(part.content, TextPart):
                text = part.content.text[: min(MAX_TEXT_CHARS, left)]
                left -= len(text)
                yield text
                if left <= 0:
                    return


def _turns(messages: list[Message]) -> int:
    """Counts what came in after the first time; beyond the bound no message can change the figure."""
    came_in = sum(message.role in (Role.USER, Role.TOOL) for message in messages[:MAX_LOOKED_AT_MESSAGES])
    return max(0, came_in - 1)


def _has_code(texts: list[str]) -> bool:
    if any(FENCE in text for text in texts):
        return True
    return any(sum(sign in text for sign in CODE_SIGNS) >= 2 for text in texts)


def _reasoning(request: CompleteRequest) -> float:
    options = request.reasoning
    if options is not None and (options.effort is not None or options.budget_token_count is not None):
        budget = min(1.0, (options.budget_token_count or 0) / FULL_BUDGET_TOKENS)
        return max(EFFORTS.get(options.effort or "", 0.0), budget)
    return ASKED if any(asks in text for text in _last_texts(request) for asks in ASKS) else 0.0


def _last_texts(request: CompleteRequest) -> list[str]:
    last = request.messages[-1] if request.messages else None
    if last is None or last.role is not Role.USER:
        return []
    parts = last.parts[:MAX_LOOKED_AT_MESSAGES]
    return [part.content.text[:MAX_TEXT_CHARS].lower() for part in parts if isinstance(part.content, TextPart)][:4]
