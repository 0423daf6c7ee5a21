"""The dialect `cohere_chat`: Cohere's chat, version 2, whole and streamed.

Read `dialect` first: it holds the class and the reader of streams. What it is made of:

- the question: `request` writes the body, `conversation` its messages, `reasoning` how much the model is to think.
- the answer: `answer` says what is read of it, `blocks` makes what a message holds parts of a reply.
- `error`: what the vendor's statuses and words mean.
- `state`: which field of a message a reasoning part stood in.

A model says what it thinks in two places: in content blocks, and, before it calls tools, in the field `tool_plan`. Both
are reasoning. `ProviderState(vendor="cohere", data)` beside reasoning is the name of the place, `thinking` or
`tool_plan`, and the text goes back there; reasoning without it is another vendor's and stays out.

Answers do not name their model.

Source: https://docs.cohere.com/reference/chat and https://docs.cohere.com/reference/chat-stream
"""

from __future__ import annotations

from llmgateway_server.providers.dialects.cohere_chat.dialect import CohereChat

__all__ = ["CohereChat"]
