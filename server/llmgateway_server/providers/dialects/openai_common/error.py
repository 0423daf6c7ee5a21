"""Error objects of OpenAI, in chat completions and in responses, and of those who speak like it.

Source: https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

import re

from llmgateway_server.core.reasons import Reason
from llmgateway_server.providers.dialects.problem import Phrase, Vocabulary

WORDS = Vocabulary(
    codes={
        "context_length_exceeded": Reason.CONTEXT_LENGTH_EXCEEDED,
        "string_above_max_length": Reason.CONTEXT_LENGTH_EXCEEDED,
        "exceed_context_size_error": Reason.CONTEXT_LENGTH_EXCEEDED,
        "tokens_limit_reached": Reason.CONTEXT_LENGTH_EXCEEDED,
        "insufficient_quota": Reason.PROVIDER_QUOTA_EXHAUSTED,
        "billing_hard_limit_reached": Reason.PROVIDER_QUOTA_EXHAUSTED,
        "billing_not_active": Reason.PROVIDER_QUOTA_EXHAUSTED,
        "credit_balance_exhausted": Reason.PROVIDER_QUOTA_EXHAUSTED,
        "content_filter": Reason.CONTENT_POLICY,
        "content_policy_violation": Reason.CONTENT_POLICY,
        "image_content_policy_violation": Reason.CONTENT_POLICY,
        "misalignment_policy_violation": Reason.CONTENT_POLICY,
        "bio_policy": Reason.CONTENT_POLICY,
        **dict.fromkeys(
            (
                *("model_not_found", "DeploymentNotFound", "unknown_model", "invalid_model", "model_decommissioned"),
                *("model_not_available", "model_not_supported"),
            ),
            Reason.MODEL_NOT_FOUND,
        ),
        "rate_limit_exceeded": Reason.UPSTREAM_RATE_LIMITED,
        "RateLimitReached": Reason.UPSTREAM_RATE_LIMITED,
        "invalid_api_key": Reason.PROVIDER_AUTH_FAILED,
        "wrong_api_key": Reason.PROVIDER_AUTH_FAILED,
        "account_deactivated": Reason.PROVIDER_AUTH_FAILED,
        "server_is_overloaded": Reason.UPSTREAM_OVERLOADED,
        "slow_down": Reason.UPSTREAM_OVERLOADED,
        "vector_store_timeout": Reason.UPSTREAM_TIMEOUT,
        **dict.fromkeys(
            (
                *("invalid_prompt", "data_residency_mismatch", "invalid_encrypted_content"),
                *("previous_response_not_found", "unsupported_parameter", "unsupported_value", "invalid_value"),
                *("invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url"),
                *("invalid_image_mode", "image_too_large", "image_too_small", "image_parse_error"),
                *("image_file_too_large", "unsupported_image_media_type", "empty_image_file"),
                *("failed_to_download_image", "image_file_not_found"),
            ),
            Reason.UPSTREAM_REJECTED_REQUEST,
        ),
    },
    types={
        "invalid_request_error": Reason.UPSTREAM_REJECTED_REQUEST,
        "authentication_error": Reason.PROVIDER_AUTH_FAILED,
        "permission_error": Reason.PROVIDER_AUTH_FAILED,
        "not_found_error": Reason.MODEL_NOT_FOUND,
        "insufficient_quota": Reason.PROVIDER_QUOTA_EXHAUSTED,
        "rate_limit_error": Reason.UPSTREAM_RATE_LIMITED,
        "requests": Reason.UPSTREAM_RATE_LIMITED,
        "tokens": Reason.UPSTREAM_RATE_LIMITED,
        "server_error": Reason.UPSTREAM_ERROR,
        "overloaded_error": Reason.UPSTREAM_OVERLOADED,
        "service_unavailable_error": Reason.UPSTREAM_OVERLOADED,
    },
    phrases=(
        Phrase(
            re.compile(
                r"maximum context length(?: is|:)? (?P<maxTokens>\d{1,9}) tokens"
                r"(?:.{0,80}?(?:resulted in|requested)(?: about)? (?P<requestedTokens>\d{1,9}))?"
            ),
            Reason.CONTEXT_LENGTH_EXCEEDED,
        ),
        Phrase(
            re.compile(
                r"maximum prompt length is (?P<maxTokens>\d{1,9}) .{0,40}?(?P<requestedTokens>\d{1,9}) tokens"  # xAI
            ),
            Reason.CONTEXT_LENGTH_EXCEEDED,
        ),
        Phrase(
            re.compile(
                r"prompt is too long: (?P<requestedTokens>\d{1,9}) tokens > (?P<maxTokens>\d{1,9})"  # Anthropic
            ),
            Reason.CONTEXT_LENGTH_EXCEEDED,
        ),
        Phrase(
            re.compile(
                r"input token count \(?(?P<requestedTokens>\d{1,9})\)? exceeds .{0,60}?(?P<maxTokens>\d{1,9})"  # Google
            ),
            Reason.CONTEXT_LENGTH_EXCEEDED,
        ),
        Phrase(
            re.compile(
                "maximum context length|exceeds the context window|exceeds the available context size"
                "|context length of only|reduce the length of the messages|maximum allowed number of input tokens"
            ),
            Reason.CONTEXT_LENGTH_EXCEEDED,
        ),
        Phrase(
            re.compile("^Model Not Exist|is not a valid model ID|^Invalid model: |^No endpoints found for "),
            Reason.MODEL_NOT_FOUND,
        ),
        Phrase(re.compile("^Incorrect API key provided"), Reason.PROVIDER_AUTH_FAILED),  # xAI, with status 400
        Phrase(re.compile("violating our usage policy"), Reason.CONTENT_POLICY),
    ),
)
