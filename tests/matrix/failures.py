"""How each vendor refuses and fails, in its own words: statuses, headers and bodies as they are met.

Bodies are shortened and hold the canary where vendors quote what they were sent. A situation that a vendor has no known
words for is missing, and the page has a dash there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CANARY = "sk-canary-4f1e"
"""A secret that vendors quote; it may appear nowhere."""

WRONG_KEY = "wrong key"
NO_RIGHT = "no right"
NO_MODEL = "unknown model"
BAD_REQUEST = "request refused"
TOO_LONG = "input too long"
POLICY = "content policy"
RATE = "too many requests"
QUOTA = "quota used up"
OVERLOADED = "overloaded"
BROKEN = "server error"
PAGE = "a web page instead of JSON"

MEANINGS: Mapping[str, frozenset[str]] = {
    WRONG_KEY: frozenset({"PROVIDER_AUTH_FAILED"}),
    NO_RIGHT: frozenset({"PROVIDER_AUTH_FAILED"}),
    NO_MODEL: frozenset({"MODEL_NOT_FOUND", "UPSTREAM_REJECTED_REQUEST"}),
    BAD_REQUEST: frozenset({"UPSTREAM_REJECTED_REQUEST"}),
    TOO_LONG: frozenset({"CONTEXT_LENGTH_EXCEEDED"}),
    POLICY: frozenset({"CONTENT_POLICY"}),
    RATE: frozenset({"UPSTREAM_RATE_LIMITED"}),
    QUOTA: frozenset({"PROVIDER_QUOTA_EXHAUSTED"}),
    OVERLOADED: frozenset({"UPSTREAM_OVERLOADED"}),
    BROKEN: frozenset({"UPSTREAM_ERROR"}),
    PAGE: frozenset({"UPSTREAM_ERROR"}),
}
"""What a situation may mean. Bedrock tells an unknown model by a message alone: a refused request there."""


@dataclass(frozen=True)
class Failure:
    """One answer of a vendor.

    Attributes:
        status: of the answer.
        body: JSON, or a text as it is.
        headers: beside the content type.
    """

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The body as it is sent."""
        return self.body if isinstance(self.body, str) else json.dumps(self.body)


Failures = Mapping[str, Failure]
"""By situation."""

HTML = Failure(502, f"<html><body>502 Bad Gateway {CANARY}</body></html>", {"content-type": "text/html"})


def _openai(message: str, kind: str | None, code: Any, **more: Any) -> Any:
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


OPENAI: Failures = {
    WRONG_KEY: Failure(401, _openai(f"Incorrect API key: {CANARY}.", "invalid_request_error", "invalid_api_key")),
    NO_RIGHT: Failure(403, _openai("You may not.", "invalid_request_error", "unsupported_country_region_territory")),
    NO_MODEL: Failure(404, _openai("The model `x` does not exist.", "invalid_request_error", "model_not_found")),
    BAD_REQUEST: Failure(400, _openai("Unsupported parameter.", "invalid_request_error", "unsupported_parameter")),
    TOO_LONG: Failure(
        400,
        _openai(
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
            "invalid_request_error",
            "context_length_exceeded",
        ),
    ),
    POLICY: Failure(400, _openai("Flagged.", "invalid_request_error", "content_policy_violation")),
    RATE: Failure(429, _openai("Rate limit reached.", "requests", "rate_limit_exceeded"), {"retry-after": "2"}),
    QUOTA: Failure(429, _openai("You exceeded your quota.", "insufficient_quota", "insufficient_quota")),
    OVERLOADED: Failure(503, _openai("The engine is overloaded.", "server_error", None)),
    BROKEN: Failure(500, _openai("The server had an error.", "server_error", None)),
    PAGE: HTML,
}
LOCAL: Failures = {
    WRONG_KEY: Failure(401, {"error": "Unauthorized"}),
    NO_MODEL: OPENAI[NO_MODEL],
    BAD_REQUEST: Failure(400, {"object": "error", "message": "bad", "type": "BadRequestError", "code": 400}),
    TOO_LONG: Failure(
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
    ),
    OVERLOADED: Failure(503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
    BROKEN: Failure(500, {"error": {"code": 500, "message": "failed", "type": "server_error"}}),
    PAGE: HTML,
}


def _anthropic(kind: str, message: str = "said") -> Any:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


ANTHROPIC: Failures = {
    WRONG_KEY: Failure(401, _anthropic("authentication_error", f"invalid x-api-key {CANARY}")),
    NO_RIGHT: Failure(403, _anthropic("permission_error")),
    NO_MODEL: Failure(404, _anthropic("not_found_error", "model: x")),
    BAD_REQUEST: Failure(400, _anthropic("invalid_request_error", "max_tokens: Field required")),
    TOO_LONG: Failure(400, _anthropic("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")),
    RATE: Failure(429, _anthropic("rate_limit_error"), {"retry-after": "2"}),
    QUOTA: Failure(402, _anthropic("billing_error")),
    OVERLOADED: Failure(529, _anthropic("overloaded_error")),
    BROKEN: Failure(500, _anthropic("api_error")),
    PAGE: HTML,
}


def _google(code: int, status: str, message: str = "said", *details: Any) -> Failure:
    return Failure(code, {"error": {"code": code, "message": message, "status": status, "details": list(details)}})


GOOGLE: Failures = {
    WRONG_KEY: _google(
        400,
        "INVALID_ARGUMENT",
        f"API key not valid: {CANARY}",
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"},
    ),
    NO_RIGHT: _google(403, "PERMISSION_DENIED"),
    NO_MODEL: _google(404, "NOT_FOUND", "models/x is not found for API version v1beta."),
    BAD_REQUEST: _google(400, "INVALID_ARGUMENT", "Please use a valid role: user, model."),
    TOO_LONG: _google(
        400,
        "INVALID_ARGUMENT",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    ),
    RATE: _google(
        429,
        "RESOURCE_EXHAUSTED",
        "Resource has been exhausted.",
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"},
    ),
    OVERLOADED: _google(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    BROKEN: _google(500, "INTERNAL"),
    PAGE: HTML,
}


def _aws(status: int, name: str, message: str = "said") -> Failure:
    kind = f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"
    return Failure(status, {"message": message}, {"x-amzn-errortype": kind})


AMAZON: Failures = {
    WRONG_KEY: _aws(403, "UnrecognizedClientException", f"The security token {CANARY} is invalid."),
    NO_RIGHT: _aws(403, "AccessDeniedException"),
    NO_MODEL: _aws(400, "ValidationException", "The provided model identifier is invalid."),
    BAD_REQUEST: _aws(400, "ValidationException", "Malformed input request: extraneous key [x] is not permitted."),
    TOO_LONG: _aws(
        400,
        "ValidationException",
        "The model returned the following errors: Input Tokens Exceeded: Number of tokens exceeds maximum length.",
    ),
    RATE: _aws(429, "ThrottlingException", "Too many requests, please wait before trying again."),
    OVERLOADED: _aws(503, "ServiceUnavailableException"),
    BROKEN: _aws(500, "InternalServerException"),
    PAGE: HTML,
}
COHERE: Failures = {
    WRONG_KEY: Failure(401, {"id": "1", "message": f"invalid api token {CANARY}"}),
    NO_RIGHT: Failure(403, {"message": "forbidden"}),
    NO_MODEL: Failure(404, {"id": "1", "message": "model 'x' not found, make sure the correct model ID was used"}),
    BAD_REQUEST: Failure(422, {"message": "invalid request: message must be at least 1 token long"}),
    TOO_LONG: Failure(
        400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000"}
    ),
    RATE: Failure(429, {"message": "You are using a Trial key, which is limited to 20 API calls / minute."}),
    OVERLOADED: Failure(503, {"message": "service unavailable"}),
    BROKEN: Failure(500, {"message": "internal server error"}),
    PAGE: HTML,
}
OLLAMA: Failures = {
    NO_MODEL: Failure(404, {"error": "model 'x' not found"}),
    BAD_REQUEST: Failure(400, {"error": "invalid options"}),
    OVERLOADED: Failure(503, {"error": "server busy, please try again. maximum pending requests exceeded"}),
    BROKEN: Failure(500, {"error": "model requires more system memory (8.4 GiB) than is available (3.1 GiB)"}),
    PAGE: HTML,
}
AZURE: Failures = {
    **OPENAI,
    WRONG_KEY: Failure(401, {"error": {"code": "401", "message": f"Access denied due to invalid key {CANARY}."}}),
    NO_MODEL: Failure(404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}}),
    POLICY: Failure(
        400,
        _openai(
            "The response was filtered.",
            None,
            "content_filter",
            status=400,
            innererror={"code": "ResponsibleAIPolicyViolation"},
        ),
    ),
    RATE: Failure(
        429,
        {"error": {"code": "RateLimitReached", "message": "Exceeded.", "details": "Exceeded."}},
        {"retry-after": "1", "retry-after-ms": "0"},
    ),
}
OPENROUTER: Failures = {
    **OPENAI,
    WRONG_KEY: Failure(401, {"error": {"message": "No cookie auth credentials found", "code": 401}}),
    NO_MODEL: Failure(400, {"error": {"message": "x is not a valid model ID", "code": 400}}),
    BAD_REQUEST: Failure(400, {"error": {"message": "Input required: specify prompt or messages", "code": 400}}),
    TOO_LONG: Failure(
        400,
        {
            "error": {
                "message": "This endpoint's maximum context length is 200000 tokens. However, you requested about "
                "2500021 tokens (2500021 of text input).",
                "code": 400,
            }
        },
    ),
    RATE: Failure(429, {"error": {"message": "Rate limit exceeded", "code": 429}}),
    QUOTA: Failure(402, {"error": {"message": "Insufficient credits", "code": 402}}),
    OVERLOADED: Failure(503, {"error": {"message": "No available provider", "code": 503}}),
    BROKEN: Failure(500, {"error": {"message": "Internal Server Error", "code": 500}}),
}
GROQ: Failures = {
    **OPENAI,
    BAD_REQUEST: Failure(400, _openai("Failed to call a function.", "invalid_request_error", "tool_use_failed")),
    TOO_LONG: Failure(
        400,
        _openai("Please reduce the length of the messages.", "invalid_request_error", "context_length_exceeded"),
    ),
}
MISTRAL: Failures = {
    **OPENAI,
    WRONG_KEY: Failure(401, {"detail": "Unauthorized"}),
    NO_MODEL: Failure(
        400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "param": None, "code": "1500"}
    ),
    BAD_REQUEST: Failure(422, {"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required"}]}),
    TOO_LONG: Failure(
        400,
        {
            "object": "error",
            "message": "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
            "type": "invalid_request_message",
            "code": "3051",
        },
    ),
    RATE: Failure(429, {"message": "Requests rate limit exceeded"}),
}
DEEPSEEK: Failures = {
    **OPENAI,
    WRONG_KEY: Failure(
        401, _openai(f"Authentication Fails, Your api key: {CANARY}", "authentication_error", "invalid_request_error")
    ),
    NO_MODEL: Failure(400, _openai("Model Not Exist", "invalid_request_error", "invalid_request_error")),
    BAD_REQUEST: Failure(422, _openai("Invalid parameters", "invalid_request_error", "invalid_request_error")),
    QUOTA: Failure(402, _openai("Insufficient Balance", "unknown_error", "invalid_request_error")),
}
XAI: Failures = {
    **OPENAI,
    WRONG_KEY: Failure(
        400, {"code": "Client specified an invalid argument", "error": f"Incorrect API key provided: {CANARY}"}
    ),
    NO_RIGHT: Failure(403, {"code": "The caller does not have permission", "error": "Your team may not."}),
    NO_MODEL: Failure(
        404,
        {"code": "Some requested entity was not found", "error": "The model x does not exist or your team may not."},
    ),
    BAD_REQUEST: Failure(400, {"code": "Client specified an invalid argument", "error": "Argument not supported: x"}),
    RATE: Failure(429, {"code": "Some resource has been exhausted", "error": "Too many requests"}),
}
PERPLEXITY: Failures = {
    **OPENAI,
    WRONG_KEY: Failure(401, f"<h1>401 Authorization Required {CANARY}</h1>", {"content-type": "text/html"}),
    NO_MODEL: Failure(400, _openai("Invalid model 'x'.", "invalid_model", 400)),
    BAD_REQUEST: Failure(400, _openai("Last message must have role `user`.", "invalid_message", 400)),
}
CEREBRAS: Failures = {
    **OPENAI,
    WRONG_KEY: Failure(
        401, {"message": "Wrong API Key", "type": "invalid_request_error", "param": "api_key", "code": "wrong_api_key"}
    ),
    NO_MODEL: Failure(
        404,
        {"message": "Model x does not exist.", "type": "not_found_error", "param": "model", "code": "model_not_found"},
    ),
    TOO_LONG: Failure(
        400,
        {
            "message": "Please reduce the length of the messages or completion.",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        },
    ),
    RATE: Failure(
        429,
        {
            "message": "Requests per minute limit exceeded.",
            "type": "too_many_requests_error",
            "param": "quota",
            "code": "request_quota_exceeded",
        },
    ),
}
HUGGINGFACE: Failures = {
    **OPENAI,
    WRONG_KEY: Failure(401, {"error": "Invalid username or password."}),
    BAD_REQUEST: Failure(
        400, {"error": {"message": "The requested model is not a chat model", "type": "invalid_request_error"}}
    ),
    OVERLOADED: Failure(503, {"error": "Model x is currently loading", "estimated_time": 20.0}),
    QUOTA: Failure(402, {"error": "You have exceeded your monthly included credits."}),
}

FAILURES: Mapping[str, Failures] = {
    "openai": OPENAI,
    "openai-compatible": LOCAL,
    "azure": AZURE,
    "groq": GROQ,
    "mistral": MISTRAL,
    "deepseek": DEEPSEEK,
    "xai": XAI,
    "openrouter": OPENROUTER,
    "together": OPENAI,
    "fireworks": OPENAI,
    "perplexity": PERPLEXITY,
    "cerebras": CEREBRAS,
    "huggingface": HUGGINGFACE,
    "vllm": LOCAL,
    "llama.cpp": LOCAL,
    "lm-studio": LOCAL,
    "anthropic": ANTHROPIC,
    "vertex-anthropic": ANTHROPIC,
    "bedrock-anthropic": AMAZON,
    "bedrock": AMAZON,
    "google": GOOGLE,
    "vertex": {**GOOGLE, WRONG_KEY: _google(401, "UNAUTHENTICATED", f"Request had invalid credentials {CANARY}.")},
    "cohere": COHERE,
    "ollama": OLLAMA,
}
"""By vendor."""
