"""The client of a request, as queues see it: the unit of fair shares."""

from __future__ import annotations

import itertools
from typing import NamedTuple

__all__ = ["Client", "own_client"]

_numbers = itertools.count(1)


class Client(NamedTuple):
    """A connection of an address. Addresses share equally, and so do the connections of each.

    address: of the peer, without its port; empty for work of the server itself.
    connection: number of the connection, unique in this process.
    """

    address: str
    connection: int


def own_client() -> Client:
    """A client of its own for work that no connection asked for, such as the proof of a plan."""
    return Client("", -next(_numbers))
