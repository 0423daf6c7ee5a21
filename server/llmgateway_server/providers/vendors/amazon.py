"""AWS Bedrock."""

from __future__ import annotations

from llmgateway_server.providers.credentials.names import AWS
from llmgateway_server.providers.dialects.bedrock_converse import BedrockConverse
from llmgateway_server.providers.dialects.bedrock_invoke.invoked import CHAT, NOVA
from llmgateway_server.providers.dialects.bedrock_llama import BedrockLlama
from llmgateway_server.providers.dialects.bedrock_text import BedrockText
from llmgateway_server.providers.vendors.vendor import Vendor

ROWS = (
    Vendor(
        name="bedrock",
        dialects=(BedrockConverse(), BedrockLlama(), BedrockText(), NOVA, CHAT),
        base_url="https://bedrock-runtime.{region}.amazonaws.com",
        key_variable="AWS_BEARER_TOKEN_BEDROCK",
        credentials=AWS,
        bills_on_abort=True,  # measured: https://github.com/BerriAI/litellm/issues/34147
    ),
)
