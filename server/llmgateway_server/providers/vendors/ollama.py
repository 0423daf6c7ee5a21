"""Ollama, on the same machine unless an account says otherwise."""

from __future__ import annotations

from llmgateway_server.providers.dialects.dialect import Quirks
from llmgateway_server.providers.dialects.media import MediaKind
from llmgateway_server.providers.dialects.ollama_chat import OllamaChat
from llmgateway_server.providers.dialects.openai_chat import OpenAiChat
from llmgateway_server.providers.vendors.vendor import Locate, Vendor

OWN = "/api/"
"""How the paths of Ollama's own API begin."""
COMPATIBLE = "/v1"
"""Where it speaks like OpenAI."""


def behind_its_kind(path_prefix: str, _api_version: str) -> Locate:
    """Returns how Ollama is addressed: its own API at the root, what is OpenAI's behind `/v1`.

    A base URL may end with `/v1`, as clients of OpenAI want it.
    """
    root = path_prefix.removesuffix(COMPATIBLE)
    return lambda path, _model: root + (path if path.startswith(OWN) else COMPATIBLE + path)


UNKNOWN = frozenset(
    {
        *("top_k", "service_tier", "messages.refusal"),
        *("store", "prompt_cache_key", "logit_bias", "verbosity", "predicted_text", "web_search"),
    }
)
"""What the server passes over where it speaks like OpenAI."""

ROWS = (
    Vendor(
        name="ollama",
        dialects=(OllamaChat(), OpenAiChat(fetches_images=False)),
        base_url="http://127.0.0.1:11434",
        locate=behind_its_kind,
        quirks=Quirks(  # https://docs.ollama.com/api/openai-compatibility, and the server's `openai/openai.go`
            max_tokens_field="max_tokens",
            developer_role=False,
            unknown_options=UNKNOWN,
            media=frozenset({MediaKind.IMAGE, MediaKind.AUDIO}),
            reasoning_history="reasoning",
        ),
        check_path="/api/tags",  # https://docs.ollama.com/api/tags
    ),
)
