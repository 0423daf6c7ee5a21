"""The dialect `openai_chat`: chat completions of OpenAI and of everything that speaks like it.

Read `dialect` first: it holds the class and the reader of streams. What it is made of:

- `request`: the body, and what it cannot say.
- `answer`: what is read of an answer.
- `openai_common`: errors and words for reasoning, shared with `openai_responses`.

There is no `ProviderState`: chat completions take nothing back unchanged. State of any vendor beside a part is left out
with a notice.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from llmgateway_server.providers.dialects.openai_chat.dialect import OpenAiChat

__all__ = ["OpenAiChat"]
