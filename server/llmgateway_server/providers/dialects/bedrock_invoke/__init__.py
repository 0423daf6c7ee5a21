"""What the dialects behind Bedrock's InvokeModel have in common: the address, the wrapping of streams, the counts.

InvokeModel takes and gives a model's own JSON; a stream wraps each event of the model into one of its own.

- `request` addresses a model.
- `chunks` unwraps a stream, so that a dialect reads the model's events as if they came without the service.
- `counts` reads the service's own token counts, for models that tell none.
- `turns` and `text_only` make turns of text of a conversation, for models that know nothing else.
- `invoked` has the models that are asked as another dialect does: chat completions, and Nova.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html
"""
