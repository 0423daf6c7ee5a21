"""Anthropic, and who else serves its models."""

from __future__ import annotations

from llmgateway_server.providers.credentials.names import AWS, GCP
from llmgateway_server.providers.credentials.schemes import header
from llmgateway_server.providers.dialects.anthropic_messages import AnthropicMessages
from llmgateway_server.providers.dialects.anthropic_messages.hosting import BEDROCK, VERSION, VERTEX
from llmgateway_server.providers.vendors.vendor import Vendor

ROWS = (
    Vendor(
        name="anthropic",
        dialects=(AnthropicMessages(),),
        base_url="https://api.anthropic.com/v1",
        key_variable="ANTHROPIC_API_KEY",
        authorize=header("x-api-key"),
        check_path="/models?limit=1",  # https://docs.anthropic.com/en/api/models-list
        check_headers=(("anthropic-version", VERSION),),
    ),
    Vendor(
        name="bedrock-anthropic",
        dialects=(AnthropicMessages(BEDROCK),),
        base_url="https://bedrock-runtime.{region}.amazonaws.com",
        credentials=AWS,
        bills_on_abort=True,  # measured: https://github.com/BerriAI/litellm/issues/34147
    ),
    Vendor(
        name="vertex-anthropic",
        dialects=(AnthropicMessages(VERTEX),),
        base_url=(
            "https://{region_host}aiplatform.googleapis.com/v1"
            "/projects/{project}/locations/{region}/publishers/anthropic"
        ),
        credentials=GCP,
    ),
)
