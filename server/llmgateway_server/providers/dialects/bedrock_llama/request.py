"""What Meta's models are asked: the body of the request, and what it cannot say. See `bedrock_llama`."""

from __future__ import annotations

from functools import partial
from typing import Any

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.requests import CompleteRequest
from llmgateway_server.providers.dialects.bedrock_invoke.text_only import completion_of, refuse_beyond_text
from llmgateway_server.providers.dialects.bedrock_invoke.turns import Turn, turns_of
from llmgateway_server.providers.dialects.bedrock_llama.prompt import prompt_of
from llmgateway_server.providers.dialects.bedrock_llama.template import LLAMA_3, Template, harmless, template_of
from llmgateway_server.providers.dialects.dialect import Unsupported

SAYABLE = frozenset({"temperature", "top_p", "max_output_tokens"})


def request_body(attempt: Attempt, dialect: str) -> dict[str, Any]:
    """Returns the body; what the caller left out is left to the vendor.

    Raises:
        RequestError: UNSUPPORTED_OPTION with everything that the dialect cannot say.
    """
    request = completion_of(attempt)
    unsupported = Unsupported(dialect, attempt.call, drop=request.drop_unsupported)
    template = template_of(attempt.target.upstream_model)
    if template is None:
        unsupported.essential("model")
    refuse_beyond_text(request, SAYABLE, unsupported)
    prompt = prompt_of(_turns(request, template or LLAMA_3, unsupported), template or LLAMA_3)
    unsupported.settle()
    options = (
        ("prompt", prompt),
        ("max_gen_len", request.max_output_tokens),
        ("temperature", request.temperature),
        ("top_p", request.top_p),
    )
    return {name: value for name, value in options if value is not None}


def prompt_sent(attempt: Attempt, dialect: str, template: Template) -> str:
    """Returns the prompt of an attempt once more, for its answer may repeat it; what it notes was noted before."""
    return prompt_of(_turns(completion_of(attempt), template, Unsupported(dialect, attempt.call, drop=True)), template)


def _turns(request: CompleteRequest, template: Template, unsupported: Unsupported) -> list[Turn]:
    return turns_of(request.messages, partial(harmless, template=template), unsupported, system_first=not template.turn)
