"""Asks one question: `python complete.py "Why is the sky blue?"`. LLMGATEWAY_TARGET says where the gateway is."""

import sys

from llmgateway import Client


def main() -> None:
    """Prints the answer, and what it took."""
    question = " ".join(sys.argv[1:]) or "Why is the sky blue?"
    with Client() as client:
        reply = client.complete("gpt-4o", question, system="Answer in one sentence.")
    print(reply.text)
    print(f"{reply.usage.input_token_count} + {reply.usage.output_token_count} tokens, ${reply.cost_usd}")


if __name__ == "__main__":
    main()
