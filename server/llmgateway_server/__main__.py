"""The command `llmgateway`."""

from __future__ import annotations

from llmgateway_server.cli.commands import app


def main() -> None:
    """Runs the command line."""
    app()


if __name__ == "__main__":
    main()
