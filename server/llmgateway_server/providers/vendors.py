"""The vendors: a table. One that speaks a known dialect is one row; a row says how it departs from the dialect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from llmgateway_server.core.secret import Secret
from llmgateway_server.providers.dialects.anthropic_messages import AnthropicMessages
from llmgateway_server.providers.dialects.anthropic_messages.dialect import VERSION
from llmgateway_server.providers.dialects.dialect import Dialect, Quirks
from llmgateway_server.providers.dialects.openai_chat import OpenAiChat
from llmgateway_server.providers.dialects.openai_responses import OpenAiResponses
from llmgateway_server.providers.http_provider import Headers

SIMULATOR = "simulator"
"""The vendor that needs no network; see `providers.simulator`."""


def bearer(key: Secret) -> Headers:
    """Sends the key as `Authorization: Bearer` (RFC 6750)."""
    return (("authorization", f"Bearer {key.reveal()}"),)


def x_api_key(key: Secret) -> Headers:
    """Sends the key as `x-api-key`, as Anthropic wants it."""
    return (("x-api-key", key.reveal()),)


@dataclass(slots=True, frozen=True)
class Vendor:
    """The company or engine behind a provider account."""

    name: str
    dialects: tuple[type[Dialect], ...]
    """What it speaks; the first one is spoken with models that name none."""
    base_url: str
    """Default base URL; empty where every account has its own."""
    key_variable: str = ""
    """Environment variable that holds the key; with it set, `serve` without a file offers the vendor."""
    credentials: Callable[[Secret], Headers] = bearer
    quirks: Quirks = field(default_factory=Quirks)
    counting_dialect: str = ""
    """The dialect whose endpoint counts tokens for all of its models; empty: each dialect's own, if it has one."""
    check_path: str = ""
    """What can be asked for without cost, behind the base URL, to see that it answers; empty: nothing is known."""
    check_headers: Headers = ()
    """Beside the key, for that question."""
    bills_on_abort: bool = False
    """Goes on generating, and bills the whole answer, when a stream is left (`providers.drain`).

    Of none of these vendors a source says so. Accounts in front of one that does set `drain_on_cancel`.
    """


VENDORS: dict[str, Vendor] = {
    vendor.name: vendor
    for vendor in (
        Vendor(
            name="openai",
            dialects=(OpenAiChat, OpenAiResponses),
            base_url="https://api.openai.com/v1",
            key_variable="OPENAI_API_KEY",
            quirks=Quirks(end_user_field="safety_identifier"),
            counting_dialect=OpenAiResponses.name,
            check_path="/models",  # https://platform.openai.com/docs/api-reference/models/list
        ),
        Vendor(
            name="anthropic",
            dialects=(AnthropicMessages,),
            base_url="https://api.anthropic.com/v1",
            key_variable="ANTHROPIC_API_KEY",
            credentials=x_api_key,
            check_path="/models?limit=1",  # https://docs.anthropic.com/en/api/models-list
            check_headers=(("anthropic-version", VERSION),),
        ),
        Vendor(
            name="openai-compatible",
            dialects=(OpenAiChat, OpenAiResponses),
            base_url="",
            quirks=Quirks(max_tokens_field="max_tokens", developer_role=False, top_k=True),
            check_path="/models",
        ),
    )
}
