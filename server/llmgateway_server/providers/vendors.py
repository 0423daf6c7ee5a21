"""The vendors: a table. One that speaks a known dialect is one row; a row says how it departs from the dialect."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmgateway_server.core.secret import Secret
from llmgateway_server.providers.dialects.dialect import Dialect, Quirks
from llmgateway_server.providers.dialects.openai_chat import OpenAiChat
from llmgateway_server.providers.http_provider import Headers

SIMULATOR = "simulator"
"""The vendor that needs no network; see `providers.simulator`."""


def bearer(key: Secret) -> Headers:
    """Sends the key as `Authorization: Bearer` (RFC 6750)."""
    return (("authorization", f"Bearer {key.reveal()}"),)


@dataclass(slots=True, frozen=True)
class Vendor:
    """The company or engine behind a provider account."""

    name: str
    dialect: type[Dialect]
    base_url: str
    """Default base URL; empty where every account has its own."""
    key_variable: str = ""
    """Environment variable that holds the key; with it set, `serve` without a file offers the vendor."""
    quirks: Quirks = field(default_factory=Quirks)
    model_names: tuple[str, ...] = ()
    """Public names that it brings into the catalogue; others are reached as `provider/model`."""


VENDORS: dict[str, Vendor] = {
    vendor.name: vendor
    for vendor in (
        Vendor(
            name="openai",
            dialect=OpenAiChat,
            base_url="https://api.openai.com/v1",
            key_variable="OPENAI_API_KEY",
            model_names=("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-5", "gpt-5-mini"),
        ),
        Vendor(
            name="openai-compatible",
            dialect=OpenAiChat,
            base_url="",
            quirks=Quirks(max_tokens_field="max_tokens", developer_role=False),
        ),
    )
}
