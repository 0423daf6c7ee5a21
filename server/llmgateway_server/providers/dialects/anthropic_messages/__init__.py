"""The dialect `anthropic_messages`: messages of Anthropic, whole and streamed, and the counting of their tokens.

The whole answer and the stream of it give the same parts; only the blanks inside a tool call's arguments may differ,
because a stream brings them as the model wrote them and the whole answer as the vendor's encoder did.

Read `dialect` first: it holds the class and the reader of streams. What it is made of:

- the question: `request` writes the body, `conversation` its turns, `media` their images and documents, `reasoning`
  how much the model is to think.
- the answer: `answer` says what is read of it, `blocks` makes its content blocks parts of a reply.
- `hosting`: where the messages are served (by Anthropic, on Bedrock, on Vertex), and what differs there.
- `error`: what the vendor's error codes, types and phrases mean.
- `state`: what goes back to the vendor unchanged.

`ProviderState(vendor="anthropic", data)` holds

- beside reasoning the signature, and beside redacted reasoning its data: the vendor's own string in UTF-8.
- beside text a JSON object `{"citations": [...]}`: the vendor's citations, whose encrypted indexes it wants back.
- beside an empty text a JSON object `{"block": {...}}`: a whole content block that has no part of its own, such as
  `server_tool_use`, `web_search_tool_result` or `container_upload`; a conversation that paused goes on with it.
- beside an empty text a JSON object `{"container": {...}}`: the container in which the vendor ran code. Nothing goes
  back for it; its `id` is what `provider_options.anthropic_messages.container_id` takes.

The objects are written as the vendor wrote them, without insignificant blanks.

Source: https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

from llmgateway_server.providers.dialects.anthropic_messages.dialect import AnthropicMessages

__all__ = ["AnthropicMessages"]
