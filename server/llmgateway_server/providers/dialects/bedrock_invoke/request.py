"""How a model is asked by InvokeModel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmgateway_server.providers.dialects.aws_events import MEDIA_TYPE
from llmgateway_server.providers.dialects.bedrock_common.address import model_path
from llmgateway_server.providers.dialects.dialect import json_post
from llmgateway_server.providers.wire.port import WireRequest


def invoke_path(model: str, *, streaming: bool) -> str:
    """Returns where a model answers, whole or as a stream."""
    return model_path(model, "invoke-with-response-stream" if streaming else "invoke")


def invoke(model: str, body: Mapping[str, Any], *, streaming: bool) -> WireRequest:
    """Returns the request for a model, without credentials; keys of the body keep their order."""
    return json_post(invoke_path(model, streaming=streaming), body, streaming=streaming, stream_type=MEDIA_TYPE)
