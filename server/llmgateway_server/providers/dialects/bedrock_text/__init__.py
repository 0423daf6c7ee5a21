"""The dialect `bedrock_text`: older text models behind Bedrock's InvokeModel, each family with names of its own.

The models write text and nothing else, and what they are asked and what they answer differs in names alone: so a family
is a row of a table, and one reader serves all of them.

- `families` is the table.
- `prompts` writes a conversation as the one text that most of them read.
- `request` writes the body.
- `places` finds values in a body; `answer` reads whole answers and chunks with it.
- `dialect` holds the class and the reader of streams.

A model that no row is for is refused by name; `bedrock_converse` serves the newer ones.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html with the pages of each vendor
"""

from __future__ import annotations

from llmgateway_server.providers.dialects.bedrock_text.dialect import BedrockText

__all__ = ["BedrockText"]
