"""What the dialects of AWS Bedrock have in common.

- `error`: what the service's exceptions mean, as answers and inside streams.
- `address`: where a model is asked.

Neither is a dialect, and nothing here knows how a request or an answer is written.
"""
