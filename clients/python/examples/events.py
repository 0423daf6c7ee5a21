"""Reads every event of a stream, with asyncio."""

import asyncio

from llmgateway import AsyncClient
from llmgateway.events import Finished, ReasoningDelta, Started, TextDelta


async def main() -> None:
    """Prints what happens as it happens."""
    async with AsyncClient() as client, client.stream("gpt-4o", "What is 6 times 7?", reasoning="low") as stream:
        async for event in stream:
            match event:
                case Started(provider_model=model):
                    print(f"{model} answers")
                case ReasoningDelta(text=text):
                    print(f"({text})", end="")
                case TextDelta(text=text):
                    print(text, end="", flush=True)
                case Finished(usage=usage):
                    print(f"\n{usage.output_token_count} tokens")


if __name__ == "__main__":
    asyncio.run(main())
