"""The dialect `openai_responses`: OpenAI's Responses and everything that speaks like them.

Nothing is stored by the vendor unless the caller wishes so; reasoning goes back sealed.

Read `dialect` first: it holds the class and the reader of streams. What it is made of:

- the question: `request` writes the body, `input` the conversation as input items.
- the answer: `answer` says what is read of it, `output` in which order its items are told, `items` what each of them
  tells.
- `state`: what goes back to the vendor unchanged.
- `openai_common`: errors and words for reasoning, shared with `openai_chat`.

`ProviderState(vendor="openai", data)` holds a JSON object:

- beside reasoning `{"id", "summary", "content", "encrypted_content"}`: the item but for its type, its texts as lists of
  strings. The part's own text is for people alone.
- beside an empty text `{"item"}`: a whole output item that has no part of its own, such as `web_search_call` or
  `code_interpreter_call`, without insignificant blanks.
- beside text and refusals `{"id", "phase"}`: of the message; its phase where the model gave one, its id only after
  reasoning, to which the vendor binds the items that follow from it.
- beside a tool call `{"id"}`: of the item, only after reasoning. It is not the call's id.

Whatever is absent is left out.

Source: https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

from llmgateway_server.providers.dialects.openai_responses.dialect import OpenAiResponses

__all__ = ["OpenAiResponses"]
