"""Asks a server in this container for its health: `healthcheck.py PORT PATH`; the exit status is 0 if it says 200."""

from __future__ import annotations

import http.client
import sys

TIMEOUT_S = 2.0


def is_healthy(port: int, path: str) -> bool:
    """Say whether 127.0.0.1:*port* answers 200 to GET *path* within TIMEOUT_S."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not is_healthy(int(sys.argv[1]), sys.argv[2]))
