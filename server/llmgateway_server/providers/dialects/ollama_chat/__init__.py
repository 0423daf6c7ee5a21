"""The dialect `ollama_chat`: Ollama's own chat, `POST /api/chat`, whole and as a line of JSON for each piece.

Read `dialect` first: it holds the class and the reader of streams. What it is made of:

- the question: `request` writes the body and its options, `conversation` the messages.
- the answer: `answer` says what is read of it.
- `error`: what the words of an error mean; they are all that there is.

There is no `ProviderState`: reasoning goes back as plain text. Tool calls have ids only since 2025, and not with every
model; the gateway makes up those that are missing, and results name both the id and the tool.

The whole answer and the stream of it give the same parts, in another order: the whole one has a single field each for
its reasoning, its text and its calls.

Source: https://docs.ollama.com/api/chat, and the types of the server (github.com/ollama/ollama, `api/types.go`)
"""

from __future__ import annotations

from llmgateway_server.providers.dialects.ollama_chat.dialect import OllamaChat

__all__ = ["OllamaChat"]
