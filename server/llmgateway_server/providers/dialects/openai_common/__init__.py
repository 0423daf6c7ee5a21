"""What OpenAI's two dialects, `openai_chat` and `openai_responses`, have in common.

- `error`: what the vendor's error codes, types and phrases mean.
- `shapes`: how failures are told, by the vendor and by those who speak like it.
- `reasoning`: the word for how much a model is to reason.

Neither is a dialect, and nothing here knows how a request or an answer is written.
"""
