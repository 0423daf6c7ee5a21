"""Token counts of the service: in headers of a whole answer, and beside the last event of a stream.

Some models tell counts of their own; those are more exact where they tell more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.counts import believable_count

METRICS = "amazon-bedrock-invocationMetrics"
"""The key that the service adds to the model's last event."""
HEADERS = {
    "inputTokenCount": "x-amzn-bedrock-input-token-count",
    "outputTokenCount": "x-amzn-bedrock-output-token-count",
    "cacheReadInputTokenCount": "x-amzn-bedrock-cache-read-input-token-count",
    "cacheWriteInputTokenCount": "x-amzn-bedrock-cache-write-input-token-count",
}
"""The headers of a whole answer, by what stands for them in a stream."""
COUNT = re.compile("[0-9]{1,16}")
"""A header that is a count; one of more digits is noise."""


def counted_by_service(metrics: object) -> Usage | None:
    """Returns the usage that stands in the metrics of a stream; None where they say none.

    Tokens that were read from a cache or written into one are not part of the input there.
    """
    said: Mapping[str, Any] = metrics if isinstance(metrics, dict) else {}
    fresh, out, read, written = (believable_count(said.get(name)) for name in HEADERS)
    if fresh is None and out is None:
        return None
    whole = None if fresh is None else believable_count(fresh + (read or 0) + (written or 0))
    return Usage(whole, out, cache_read_token_count=read, cache_write_5m_token_count=written)


def counted_in_headers(headers: Mapping[str, str]) -> Usage | None:
    """Returns the usage that stands in the headers of a whole answer; None where they say none."""
    found = {name: headers.get(header, "") for name, header in HEADERS.items()}
    return counted_by_service({name: int(text) for name, text in found.items() if COUNT.fullmatch(text)})


def counted(usage: Usage, service: Usage | None) -> Usage | None:
    """Returns a model's own counts, with the service's where it has none; None where nobody counted."""
    if usage.input_token_count is None and usage.output_token_count is None:
        return service
    if service is None:
        return usage
    own_input, own_output = usage.input_token_count, usage.output_token_count
    return Usage(
        input_token_count=service.input_token_count if own_input is None else own_input,
        output_token_count=service.output_token_count if own_output is None else own_output,
        cache_read_token_count=service.cache_read_token_count,
        cache_write_5m_token_count=service.cache_write_5m_token_count,
    )
