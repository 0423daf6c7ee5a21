"""The process of one worker; `serve --workers` starts it, nobody else does."""

from __future__ import annotations

import sys

from llmgateway_server.workers.worker import main

if __name__ == "__main__":
    sys.exit(main())
