"""The dialect `gemini`: generateContent of Google AI Studio and of Vertex AI, whole and streamed, and token counts.

Read `dialect` first: it holds the class and the reader of streams. What it is made of:

- the question: `request` writes the body, `generation` its settings, `tools` the tools and the choice among them,
  `conversation` the turns, `media` their images, sounds and documents, `reasoning` how much the model is to think,
  `address` where a model is asked.
- the answer: `answer` says what is read of it, `pieces` makes its parts parts of a reply, `partial_args` puts together
  arguments that come in pieces, `grounding` tells the sources of a text, `logprobs` how likely it was, `usage` what it
  took, `finish` why it ended.
- `error`: what the vendor's error codes, words and phrases mean.
- `state`: what goes back to the vendor unchanged.

`ProviderState(vendor="google", data)` is a JSON object.

- `{"signature": "..."}`: the part's thought signature, beside whatever part the vendor put it. A part with a signature
  is never joined with one without.
- `{"id": "..."}` beside a tool call: the vendor gave the call its id and gets it back. Ids that were made up here stay
  here: the vendor tells the results by name and order.
- `{"part": {...}}` beside an empty text: a whole part that has no part of its own in the contract, such as
  `executableCode`, `codeExecutionResult` or a signature alone.
- `{"grounding": {...}}` beside text: what the vendor says of its searches. Nothing goes back for it; its search
  suggestions are what the vendor wants to be shown.
- `{}` beside reasoning: it is this vendor's.

A prompt that was blocked is an answer without content: it ends with the finish reason CONTENT_FILTER, and the vendor's
block reason stands where its finish reason would.

Source: https://ai.google.dev/api/generate-content and
https://docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
"""

from __future__ import annotations

from llmgateway_server.providers.dialects.gemini.dialect import Gemini

__all__ = ["Gemini"]
