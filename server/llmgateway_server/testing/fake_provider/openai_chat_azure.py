"""Chat completions in the manner of Azure: where they are asked for, with which key, and what filters add to answers.

Source: https://learn.microsoft.com/azure/ai-foundry/openai/reference and recorded traffic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from llmgateway_server.testing.fake_provider import checks_responses, openai_chat
from llmgateway_server.testing.fake_provider.checks import Asked, Refused
from llmgateway_server.testing.fake_provider.checks_openai import check_chat, check_key
from llmgateway_server.testing.fake_provider.frames import compact, frame
from llmgateway_server.testing.fake_provider.reply import FakeError, FakeReply

V1 = "/openai/v1/chat/completions"
DEPLOYMENT = "/openai/deployments/{model}/chat/completions"
MODELS = "/models/chat/completions"

Json = dict[str, Any]
SAFE: Json = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
PROMPT_RESULTS = [{"prompt_index": 0, "content_filter_results": {**SAFE, "jailbreak": {"detected": False}}}]


def check(asked: Asked) -> None:
    """Refuses what chat completions refuse, and what Azure refuses before.

    Raises:
        Refused: the first fault.
    """
    check_azure_key(asked)
    address = urlsplit(asked.path)
    if not address.path.endswith(V1) and not parse_qs(address.query).get("api-version"):
        raise Refused(FakeError(404, code="404", message="The address has no api-version."))
    is_body = isinstance(asked.body, dict)
    if is_body and asked.models and asked.body.get("model") not in asked.models:
        raise Refused(FakeError(404, code="DeploymentNotFound", message="There is no such deployment."))
    check_chat(asked, check_azure_key)


def check_response(asked: Asked) -> None:
    """Refuses what Responses refuse, with Azure's keys. Errors as in `check`."""
    check_azure_key(asked)
    bearer = {**asked.headers, "authorization": "Bearer checked"}
    checks_responses.check_response(replace(asked, headers=bearer, api_key=""))


def check_azure_key(asked: Asked) -> None:
    """Refuses a request without a key: in `api-key`, or as the token of a person or an application."""
    key = asked.headers.get("api-key")
    if key is None and "authorization" in asked.headers:
        check_key(asked)
    elif not key or (asked.api_key and key != asked.api_key):
        raise Refused(FakeError(401, code="401", message="The key is missing or not the right one."))


def body(reply: FakeReply, request: Mapping[str, Any]) -> Json:
    """Returns a unary answer; one that was filtered has no message."""
    written = openai_chat.body(reply, request)
    for choice in written["choices"]:
        choice["content_filter_results"] = SAFE
        if choice["finish_reason"] == "content_filter":
            del choice["message"]
    return {**written, "prompt_filter_results": PROMPT_RESULTS}


def frames(reply: FakeReply, request: Mapping[str, Any]) -> list[bytes]:
    """Returns a streamed answer; its first chunk tells of the prompt alone, and every delta repeats the role."""
    first = {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": PROMPT_RESULTS}
    written = openai_chat.frames(reply, request)
    return [frame(compact(first)), *map(_filtered, written[:-1]), written[-1]]


def _filtered(written: bytes) -> bytes:
    chunk = json.loads(written.removeprefix(b"data: "))
    for choice in chunk["choices"]:
        choice["content_filter_results"] = SAFE if choice["delta"].get("content") else {}
        if "content" in choice["delta"]:
            choice["delta"]["role"] = "assistant"
    return frame(compact(chunk))
