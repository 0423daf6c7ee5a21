"""The dialect `bedrock_llama`: Meta's models behind Bedrock's InvokeModel, whole and streamed.

The models take one text in which special tokens tell who speaks, and go on writing it. `bedrock_converse` serves the
same models with tools and images; this dialect says what the text alone can say, and refuses the rest by name.

- `template` has the models' templates as data; `prompt` writes a conversation with one. What a speaker says cannot
  leave its place: special tokens in it are broken up, with a notice.
- `request` writes the body.
- `said` finds what is new in an answer: streams may repeat the prompt, or all that was said, in each chunk, and a model
  may go on with turns of its own.
- `dialect` holds the class and the reader of streams.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html
"""

from __future__ import annotations

from llmgateway_server.providers.dialects.bedrock_llama.dialect import BedrockLlama

__all__ = ["BedrockLlama"]
