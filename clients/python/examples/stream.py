"""Prints an answer while it arrives, and stops when it is long enough."""

from llmgateway import Client

ENOUGH = 200


def main() -> None:
    """Leaves the loop early where it must: that cancels the call, and the gateway stops the provider."""
    written = 0
    with Client() as client, client.stream("gpt-4o", "Tell me a story.") as stream:
        for piece in stream.text:
            print(piece, end="", flush=True)
            written += len(piece)
            if written > ENOUGH:
                print(" …")
                return
        print(f"\n{stream.reply().finish_reason}")


if __name__ == "__main__":
    main()
