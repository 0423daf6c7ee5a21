"""Your own Python as a provider: what a handler is given, what it may give back, how it fails (docs/handlers.md).

A handler is one of

    async def handler(request: Request) -> str | Answer
    async def handler(request: Request) -> AsyncIterator[str | Piece]      # with `yield`
    def handler(request: Request) -> str | Answer | Iterator[str | Piece]  # only with the setting `threads`

and an account of the configuration names it. It is routed to, timed, metered and failed over like any other provider.
"""

from llmgateway_server.core.events import FinishReason
from llmgateway_server.core.messages import Role
from llmgateway_server.core.requests import FormatKind, ToolChoiceMode
from llmgateway_server.core.secret import Secret
from llmgateway_server.providers.handlers.answer import Answer, Finish, Piece, Usage
from llmgateway_server.providers.handlers.content import (
    Media,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from llmgateway_server.providers.handlers.failure import HandlerError, Kind
from llmgateway_server.providers.handlers.request import (
    Message,
    Metadata,
    Options,
    Request,
    ResponseFormat,
    Tool,
    ToolChoice,
)

__all__ = [
    "Answer",
    "Finish",
    "FinishReason",
    "FormatKind",
    "HandlerError",
    "Kind",
    "Media",
    "Message",
    "Metadata",
    "Options",
    "Part",
    "Piece",
    "Reasoning",
    "Refusal",
    "Request",
    "ResponseFormat",
    "Role",
    "Secret",
    "Text",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "ToolChoiceMode",
    "ToolResult",
    "Usage",
]
