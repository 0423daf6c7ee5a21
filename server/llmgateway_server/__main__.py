"""The command `llmgateway`."""

from __future__ import annotations

import os


def main() -> None:
    """Runs the command line."""
    # Read when the library is loaded: its own notes on standard error tell a user nothing that our log does not.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from llmgateway_server.cli.commands import app

    app()


if __name__ == "__main__":
    main()
