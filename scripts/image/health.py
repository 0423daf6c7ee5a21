"""The image's health check: asks the gateway's HTTP door on this machine whether calls are taken.

Standard library only, so that it starts in the time of a bare Python. `LLMGATEWAY_PROBE` is the door's `HOST:PORT`;
default 127.0.0.1:9464. Exit code 0: calls are taken; 1: the gateway starts, drains, or does not answer within two
seconds.
"""

from __future__ import annotations

import http.client
import os
import sys

TIMEOUT_S = 2.0
LONGEST = 100
"""Characters of an answer that are shown; ours are one word."""


def ask(address: str) -> tuple[bool, str]:
    """Returns whether the door says that calls are taken, and what it says."""
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return answer.status == http.HTTPStatus.OK, answer.read(LONGEST).decode("ascii", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return False, f"{address} does not answer: {type(error).__name__}"
    finally:
        connection.close()


if __name__ == "__main__":
    ready, said = ask(os.environ.get("LLMGATEWAY_PROBE") or "127.0.0.1:9464")
    print(said)
    sys.exit(0 if ready else 1)
