"""A request as the model reads it: texts to be counted and what stands around them.

OpenAI documents 3 tokens and the role for each message, 1 for a name and 3 before the answer (its cookbook, "How to
count tokens with tiktoken"); models of the fifth generation are recorded with 2 before the answer. Anthropic documents
what its prompt for tools takes (docs.claude.com, "Tool use", pricing). All other figures are from recorded counts, few
for each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from llmgateway_server.core.messages import (
    Content,
    MediaPart,
    Message,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from llmgateway_server.core.requests import CompleteRequest, FormatKind, ToolChoiceMode
from llmgateway_server.providers.tokens.estimate import Family
from llmgateway_server.providers.tokens.functions import compact, namespace
from llmgateway_server.providers.tokens.media import media_tokens, text_of


@dataclass(slots=True)
class Layout:
    """What a request is made of."""

    texts: list[str] = field(default_factory=list)
    """To be counted one by one."""
    token_count: int = 0
    """Tokens around and between the texts."""
    exact: bool = True
    """Nothing but the texts' own counts can be wrong."""


@dataclass(slots=True, frozen=True)
class Frame:
    """Tokens that a family puts around what is said."""

    request: int
    message: int
    name: int = 1
    tool_call: int = 8
    tool_result: int = 8
    tools: int = 0
    """Once, where there is any tool."""
    forced_tools: int | None = None
    """The same where a call is demanded; None for no difference."""
    tool: int = 0
    """For each tool, besides its own text."""
    schema: int = 4
    """For a response format with a schema, besides the schema."""
    exact_roles: frozenset[Role] = frozenset()
    """Roles whose text-only messages are counted exactly; empty where the frame is not known for sure."""


_CHAT_ROLES = frozenset((Role.SYSTEM, Role.USER, Role.ASSISTANT))
_SNAPSHOT = r"(-\d{4}-\d{2}-\d{2}|-\d{4})?"
_OPENAI = (
    (
        rf"^(gpt-3\.5-turbo|gpt-4(-turbo)?|gpt-4o(-mini)?|gpt-4\.1(-mini|-nano)?){_SNAPSHOT}$",
        Frame(request=3, message=4, tools=9, exact_roles=_CHAT_ROLES),
    ),
    (
        rf"^gpt-5(\.\d+)?(-mini|-nano)?{_SNAPSHOT}$",
        Frame(request=2, message=4, tools=89, exact_roles=frozenset((Role.SYSTEM, Role.USER))),
    ),
    (r"gpt-oss", Frame(request=64, message=4, tools=30)),
    (r"gpt-5", Frame(request=2, message=4, tools=89)),
    (r"\bo\d", Frame(request=2, message=4, tools=9)),
    (r"", Frame(request=3, message=4, tools=9)),
)
_ANTHROPIC = (
    (r"claude-3-(5-)?haiku", Frame(request=4, message=4, tools=264, forced_tools=340, tool=16, schema=100)),
    (r"claude-3-sonnet", Frame(request=4, message=4, tools=159, forced_tools=235, tool=16, schema=100)),
    (r"claude-3-opus", Frame(request=4, message=4, tools=530, forced_tools=281, tool=16, schema=100)),
    (r"claude-3|claude-[a-z]+-4(-[01])?(-\d{8}|@|-v|$)", Frame(4, 4, tools=346, forced_tools=313, tool=16, schema=100)),
    (r"", Frame(request=4, message=4, tools=496, tool=16, schema=100)),
)
_OTHER = (
    (r"gemini", Frame(request=0, message=2)),
    (r"llama-?3", Frame(request=30, message=5, tools=80, tool=16)),
    (r"nova", Frame(request=3, message=5, tools=320, tool=16)),
    (r"deepseek", Frame(request=3, message=4, tools=200, tool=16)),
    (r"qwen|grok", Frame(request=3, message=5, tools=150, tool=16)),
    (r"mistral|mixtral", Frame(request=3, message=5, tools=24, tool=16)),
    (r"", Frame(request=3, message=5, tools=80, tool=16)),
)
_ROWS = {
    Family.O200K: _OPENAI,
    Family.CL100K: _OPENAI,
    Family.ANTHROPIC: _ANTHROPIC,
    Family.ANTHROPIC_5: _ANTHROPIC,
    Family.OTHER: _OTHER,
}
FRAMES: Final = {
    family: tuple((re.compile(pattern), frame) for pattern, frame in rows) for family, rows in _ROWS.items()
}
"""By family, the first pattern that is found in the upstream model's name.

Exact are names that the vendor documents or whose counts agree with recorded ones, and sizes of the same generation.
"""


def frame_of(family: Family, model: str) -> Frame:
    """Returns the frame of a model, named in lower case."""
    return next(frame for pattern, frame in FRAMES[family] if pattern.search(model))


def lay_out(request: CompleteRequest, family: Family, model: str) -> Layout:
    """Lays out a request.

    Args:
        request: as the caller sent it.
        family: of the model's tokenizer.
        model: its upstream name.
    """
    writer = _Writer(request, family, model.lower())
    for message in request.messages:
        writer.message(message)
    writer.tools()
    writer.response_format()
    return writer.finished()


class _Writer:
    def __init__(self, request: CompleteRequest, family: Family, model: str) -> None:
        self._request = request
        self._family = family
        self._model = model
        self._frame = frame_of(family, model)
        self._layout = Layout(token_count=self._frame.request)

    def finished(self) -> Layout:
        """Returns the layout, which is not exact where an option may add to the prompt unseen."""
        request, layout = self._request, self._layout
        layout.exact = layout.exact and request.reasoning is None and not request.provider_options
        return layout

    def message(self, message: Message) -> None:
        """Writes one message."""
        layout, frame = self._layout, self._frame
        layout.token_count += frame.message
        if message.name:
            layout.token_count += frame.name
            layout.texts.append(message.name)
        alone = len(message.parts) == 1 and isinstance(message.parts[0].content, TextPart)
        layout.exact = layout.exact and alone and message.role in frame.exact_roles
        for part in message.parts:
            self._content(part.content)

    def tools(self) -> None:
        """Writes the tools; with `none` they are still part of the prompt."""
        request, layout, frame = self._request, self._layout, self._frame
        if not request.tools:
            return
        layout.exact = False
        choice = request.tool_choice
        forced = choice is not None and choice.mode in (ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED)
        preamble = frame.forced_tools if forced and frame.forced_tools is not None else frame.tools
        layout.token_count += preamble + frame.tool * len(request.tools)
        if self._family in (Family.O200K, Family.CL100K):
            # they stand inside the system's message where there is one
            if any(message.role in (Role.SYSTEM, Role.DEVELOPER) for message in request.messages):
                layout.token_count -= frame.message
            layout.texts.append(namespace(request.tools))
        else:
            for tool in request.tools:
                layout.texts += (tool.name, tool.description, compact(tool.parameters_json_schema))
        if choice is not None:
            layout.texts.append(choice.name)

    def response_format(self) -> None:
        """Writes the schema of the answer."""
        wanted, layout = self._request.response_format, self._layout
        if wanted is None or wanted.kind is FormatKind.TEXT:
            return
        layout.exact = False
        if wanted.kind is FormatKind.JSON_SCHEMA:
            layout.token_count += self._frame.schema
            layout.texts.append(compact(wanted.schema_json))

    def _content(self, content: Content) -> None:
        layout, frame = self._layout, self._frame
        match content:
            case TextPart(text=text) | ReasoningPart(text=text) | RefusalPart(text=text):
                layout.texts.append(text)
            case ToolCallPart(name=name, arguments_json=arguments):
                layout.token_count += frame.tool_call
                layout.texts += (name, arguments)
            case ToolResultPart(content=pieces):
                layout.token_count += frame.tool_result
                for piece in pieces:
                    self._content(piece)
            case MediaPart():
                plain = text_of(content)
                if plain is not None:
                    layout.texts.append(plain)
                else:
                    layout.token_count += media_tokens(content, self._family, self._model)
