"""The dialect `openai_chat`: chat completions of OpenAI and of everything that speaks like it.

Read `dialect` first: it holds the class and the reader of streams. What it is made of:

- `request`: the body, and what it cannot say; `conversation` writes its messages, `reasoning` how much is reasoned.
- `answer`: what is read of an answer; `said` puts it into the parts of a reply.
- `details`: opaque reasoning that goes back to its vendor unchanged, where a vendor has such.
- `openai_common`: errors in all their shapes, what they mean, and words for reasoning, shared with `openai_responses`.

How a vendor departs from OpenAI stands in its row as `Quirks`; no module asks for a vendor's name. OpenAI itself takes
nothing back unchanged: state of any vendor beside a part is then left out with a notice.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from llmgateway_server.providers.dialects.openai_chat.dialect import OpenAiChat

__all__ = ["OpenAiChat"]
