"""Vendors and engines that speak OpenAI's chat completions, each in its own way.

What a row says stands in the vendor's reference of chat completions, as of November 2026, and in recorded traffic.
"""

from __future__ import annotations

from llmgateway_server.providers.dialects.dialect import Quirks
from llmgateway_server.providers.dialects.media import MediaKind
from llmgateway_server.providers.dialects.openai_chat import OpenAiChat
from llmgateway_server.providers.vendors.openai import CHAT
from llmgateway_server.providers.vendors.vendor import Vendor

IMAGES = frozenset({MediaKind.IMAGE})
IMAGES_AND_SOUNDS = frozenset({MediaKind.IMAGE, MediaKind.AUDIO})
TEXT_ALONE = frozenset[MediaKind]()

REFUSAL = frozenset({"messages.refusal"})
"""Only OpenAI's own models decline beside their text."""
OF_OPENAI = frozenset({"store", "prompt_cache_key", "verbosity", "web_search"}) | REFUSAL
"""What hardly anybody copied."""
LOGPROBS = frozenset({"logprobs"})
PENALTIES = frozenset({"frequency_penalty", "presence_penalty"})

ROWS = (
    Vendor(
        name="groq",
        dialects=(CHAT,),
        base_url="https://api.groq.com/openai/v1",
        key_variable="GROQ_API_KEY",
        quirks=Quirks(  # https://console.groq.com/docs/api-reference
            developer_role=False,
            unknown_options=OF_OPENAI | LOGPROBS | {"top_k", "logit_bias", "predicted_text"},
            most_stops=4,
            media=IMAGES,
        ),
        check_path="/models",
    ),
    Vendor(
        name="mistral",
        dialects=(CHAT,),
        base_url="https://api.mistral.ai/v1",
        key_variable="MISTRAL_API_KEY",
        quirks=Quirks(  # https://docs.mistral.ai/api; unknown fields are refused with 422
            max_tokens_field="max_tokens",
            stream_usage_option=False,  # the last chunk has it anyway
            developer_role=False,
            seed_field="random_seed",
            unknown_options=OF_OPENAI
            | LOGPROBS
            | {"top_k", "logit_bias", "service_tier", "end_user_id", "messages.name"},
            document_part="document_url",
            reasoning_history="content",
            tool_call_id="[a-zA-Z0-9]{9}",
        ),
        check_path="/models",
    ),
    Vendor(
        name="deepseek",
        dialects=(CHAT,),
        base_url="https://api.deepseek.com",
        key_variable="DEEPSEEK_API_KEY",
        quirks=Quirks(  # https://api-docs.deepseek.com/api/create-chat-completion
            max_tokens_field="max_tokens",
            developer_role=False,
            unknown_options=OF_OPENAI
            | {"top_k", "seed", "logit_bias", "service_tier", "end_user_id", "parallel_tool_calls", "predicted_text"},
            most_stops=16,
            media=TEXT_ALONE,
            reasoning="switch",
            reasoning_history="reasoning_content",
        ),
        check_path="/models",
    ),
    Vendor(
        name="xai",
        dialects=(CHAT,),
        base_url="https://api.x.ai/v1",
        key_variable="XAI_API_KEY",
        quirks=Quirks(  # https://docs.x.ai/docs/api-reference
            developer_role=False,
            unknown_options=OF_OPENAI | {"top_k", "logit_bias", "service_tier", "predicted_text"},
            media=IMAGES,
        ),
        check_path="/models",
    ),
    Vendor(
        name="openrouter",
        dialects=(CHAT,),
        base_url="https://openrouter.ai/api/v1",
        key_variable="OPENROUTER_API_KEY",
        quirks=Quirks(  # https://openrouter.ai/docs/api-reference/parameters
            max_tokens_field="max_tokens",
            developer_role=False,
            unknown_options=frozenset({"store", "prompt_cache_key"}) | REFUSAL,
            reasoning="object",
            reasoning_history="reasoning",
            state_vendor="openrouter",
        ),
        check_path="/key",  # the models are listed for anybody; this wants the key
    ),
    Vendor(
        name="together",
        dialects=(CHAT,),
        base_url="https://api.together.xyz/v1",
        key_variable="TOGETHER_API_KEY",
        quirks=Quirks(  # https://docs.together.ai/reference/chat-completions-1; its logprobs are of an older form
            max_tokens_field="max_tokens",
            developer_role=False,
            unknown_options=OF_OPENAI
            | LOGPROBS
            | {"service_tier", "end_user_id", "parallel_tool_calls", "predicted_text"},
            media=IMAGES_AND_SOUNDS,
        ),
        check_path="/models",
    ),
    Vendor(
        name="fireworks",
        dialects=(CHAT,),
        base_url="https://api.fireworks.ai/inference/v1",
        key_variable="FIREWORKS_API_KEY",
        quirks=Quirks(  # https://docs.fireworks.ai/api-reference/post-chatcompletions
            max_tokens_field="max_tokens",
            developer_role=False,
            unknown_options=OF_OPENAI,
            most_stops=4,
            media=IMAGES,
        ),
        check_path="/models",
    ),
    Vendor(
        name="perplexity",
        dialects=(CHAT,),
        base_url="https://api.perplexity.ai",
        key_variable="PERPLEXITY_API_KEY",
        quirks=Quirks(  # https://docs.perplexity.ai/api-reference/chat-completions-post
            max_tokens_field="max_tokens",
            done_line_required=False,
            stream_usage_option=False,  # every chunk has it
            developer_role=False,
            unknown_options=frozenset({"store", "prompt_cache_key", "verbosity", "logit_bias", "predicted_text"})
            | REFUSAL
            | LOGPROBS
            | {"tools", "tool_choice", "parallel_tool_calls", "seed", "service_tier", "end_user_id"},
            media=IMAGES,
        ),
    ),
    Vendor(
        name="cerebras",
        dialects=(CHAT,),
        base_url="https://api.cerebras.ai/v1",
        key_variable="CEREBRAS_API_KEY",
        quirks=Quirks(  # https://inference-docs.cerebras.ai/api-reference/chat-completions
            developer_role=False,
            unknown_options=OF_OPENAI | PENALTIES | {"top_k", "logit_bias"},
            most_stops=4,
            media=TEXT_ALONE,
        ),
        check_path="/models",
    ),
    Vendor(
        name="huggingface",
        dialects=(CHAT,),
        base_url="https://router.huggingface.co/v1",
        key_variable="HF_TOKEN",
        quirks=Quirks(  # https://huggingface.co/docs/inference-providers/tasks/chat-completion
            max_tokens_field="max_tokens",
            done_line_required=False,  # some of the providers behind it send none
            developer_role=False,
            unknown_options=OF_OPENAI
            | {"top_k", "logit_bias", "service_tier", "end_user_id", "parallel_tool_calls", "predicted_text"},
            media=IMAGES,
        ),
        check_path="/models",
    ),
    Vendor(
        name="vllm",
        dialects=(CHAT,),
        base_url="http://127.0.0.1:8000/v1",
        quirks=Quirks(  # https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
            max_tokens_field="max_tokens",
            developer_role=False,
            unknown_options=OF_OPENAI | {"service_tier", "predicted_text"},
            media=IMAGES_AND_SOUNDS,
        ),
        check_path="/models",
    ),
    Vendor(
        name="llama.cpp",
        dialects=(CHAT,),
        base_url="http://127.0.0.1:8080/v1",
        quirks=Quirks(  # https://github.com/ggml-org/llama.cpp/tree/master/tools/server
            max_tokens_field="max_tokens",
            developer_role=False,
            unknown_options=OF_OPENAI | {"service_tier", "end_user_id", "predicted_text"},
            media=IMAGES_AND_SOUNDS,
        ),
        check_path="/models",
    ),
    Vendor(
        name="lm-studio",
        dialects=(OpenAiChat(fetches_images=False),),
        base_url="http://127.0.0.1:1234/v1",
        quirks=Quirks(  # https://lmstudio.ai/docs/developer/openai-compat/chat-completions
            max_tokens_field="max_tokens",
            developer_role=False,
            unknown_options=OF_OPENAI
            | LOGPROBS
            | {"service_tier", "end_user_id", "parallel_tool_calls", "predicted_text", "response_format.json_object"},
            media=IMAGES,
        ),
        check_path="/models",
    ),
)
