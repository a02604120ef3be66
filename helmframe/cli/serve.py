"""Pages of this machine, served until Ctrl-C."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from helmframe.errors import ArgumentError


class Server(Protocol):
    """What serves."""

    @property
    def address(self) -> str:
        """What to open in a browser."""

    def serve_forever(self) -> None:
        """Serve until a Ctrl-C."""


def serve(make: Callable[[int], "AbstractContextManager[Server]"], port: int) -> None:
    """Serve what is made for a port, 0 for one that is free; a Ctrl-C ends it.

    Raises:
        ArgumentError: the port can't be had.
    """
    try:
        made = make(port)
    except (OSError, OverflowError) as error:
        raise ArgumentError(f"--port {port}: {error}. Leave it out, and a free one is taken.") from None
    with made as server:
        try:
            print(f"{server.address}\nhelmframe: for browsers of this machine only; Ctrl-C ends it", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            print("helmframe: ended", file=sys.stderr, flush=True)
