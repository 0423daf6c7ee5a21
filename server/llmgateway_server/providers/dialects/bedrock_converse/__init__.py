"""The dialect `bedrock_converse`: Converse of AWS Bedrock, whole and streamed, for the models of all vendors behind it.

The whole answer and the stream of it give the same parts; only the blanks inside a tool call's arguments may differ,
because a stream brings them as the model wrote them and the whole answer as the service's encoder did.

Read `dialect` first: it holds the class and the reader of streams. What it is made of:

- the question: `request` writes the body, `conversation` its turns, `media` their images and documents, `tools` what
  may be called, `reasoning` how much the model is to think. `families` is the table of what differs by model.
- the answer: `answer` says what is read of it, `blocks` makes its content blocks parts of a reply.
- `state`: what goes back to the service unchanged.

The service's errors are read by `bedrock_common`, its binary events by `aws_events`. An answer names neither itself nor
the model that gave it.

`ProviderState(vendor="bedrock", data)` holds

- beside reasoning the signature, and beside redacted reasoning its content in base64: the service's own string in
  UTF-8. Reasoning of models that sign none has no state and does not go back.
- beside text a JSON object `{"citations": [...]}`: the sources as the service told them.
- beside an empty text a JSON object `{"block": {...}}`: a whole content block that has no part of its own, such as a
  call of a tool that the model's vendor runs, or its result.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and _ConverseStream.html, and
the service's model in botocore.
"""

from __future__ import annotations

from llmgateway_server.providers.dialects.bedrock_converse.dialect import BedrockConverse

__all__ = ["BedrockConverse"]
