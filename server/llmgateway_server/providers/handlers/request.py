"""What a handler is given: one completion, as an immutable view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from llmgateway_server.core.messages import Role
from llmgateway_server.core.requests import FormatKind, ToolChoiceMode
from llmgateway_server.core.secret import Secret
from llmgateway_server.providers.handlers.content import Part, Text


@dataclass(slots=True, frozen=True)
class Message:
    """One message of the conversation."""

    role: Role
    """`system`, `developer`, `user`, `assistant` or `tool`; equal to these texts."""
    parts: tuple[Part, ...]
    name: str = ""
    """Who of several speakers says it; empty where nobody was named."""

    @property
    def text(self) -> str:
        """The message's text parts, one after the other; empty where there are none."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


@dataclass(slots=True, frozen=True)
class Tool:
    """A tool that the model may call."""

    name: str
    description: str = ""
    parameters_json_schema: str = ""
    """JSON text of a schema; empty: no parameters."""
    strict: bool | None = None
    """Whether arguments must fit the schema; None: the model's default."""


@dataclass(slots=True, frozen=True)
class ToolChoice:
    """Which tools may or must be called."""

    mode: ToolChoiceMode
    """`auto`, `none`, `required` or `named`; equal to these texts."""
    name: str = ""
    """Of the tool that must be called; with `named` alone."""


@dataclass(slots=True, frozen=True)
class ResponseFormat:
    """The form of the answer's text."""

    kind: FormatKind
    """`text`, `json_object` or `json_schema`; equal to these texts."""
    name: str = ""
    description: str = ""
    schema_json: str = ""
    """JSON text of the schema; with `json_schema` alone."""
    strict: bool | None = None


@dataclass(slots=True, frozen=True)
class Options:
    """What the caller set. None, an empty text and an empty tuple: nothing was set, the model's default holds."""

    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    """Texts at which the answer ends, without them."""
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str = ""
    """`none`, `minimal`, `low`, `medium`, `high` or `max`."""
    reasoning_token_count: int | None = None
    """Most tokens to reason with."""
    reasoning_text: bool | None = None
    """Whether the reasoning shall be shown."""
    service_tier: str = ""
    drop_unsupported: bool = False
    """What cannot be done is left out instead of refused with `HandlerError("unsupported")`."""


@dataclass(slots=True, frozen=True)
class Metadata:
    """Who and what the call is for, in the caller's own words."""

    user: str = ""
    project: str = ""
    feature: str = ""
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    end_user_id: str = ""


@dataclass(slots=True, frozen=True)
class Request:
    """One completion to be answered."""

    model: str
    """The upstream model: one of the account's `models`, or what a target of the configuration names."""
    messages: tuple[Message, ...]
    """At least one."""
    tools: tuple[Tool, ...] = ()
    options: Options = Options()
    metadata: Metadata = Metadata()
    deadline_s: float = 0.0
    """Seconds that are left for the whole answer, from the handler's start. The gateway ends it then by itself."""
    streaming: bool = False
    """Whether the caller reads along. Any handler may answer either way."""
    call_id: str = ""
    """Stands in the gateway's records, and in what the caller gets."""
    provider: str = ""
    """The account's name in the configuration."""
    base_url: str = ""
    """The account's `base_url`; empty where none is set."""
    api_key: Secret | None = field(default=None, repr=False)
    """The account's key whose turn it is; `api_key.reveal()` gives the text. None where none is set."""
