"""A bounded queue that gives each client its share, by start-time fair queueing on two levels.

Goyal, Vin, Cheng: "Start-time Fair Queueing" (SIGCOMM 1996). Each client has a start tag, the cost
that it was served so far; who has the least is next, and whoever comes back from a pause begins
at the tag of what is being served: it saves nothing up. So between two clients that both wait,
what each was served differs by one of its own items at most, whatever their number and size.
Addresses share the queue, and the connections of an address share its part.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from heapq import heappop, heappush
from typing import Generic, TypeVar

from enginecrate.errors import QueueFull
from enginecrate.server.scheduling.client import Client

__all__ = ["FairQueue"]

T = TypeVar("T", bound=Hashable)

_ADDRESS_SHARE = 8
_CONNECTION_SHARE = 2
"""A client may hold this many times the places that it leaves free for others (dynamic thresholds,
Choudhury and Hahne, 1998). So one address alone fills 8/9 of the queue, and who comes later finds a
place."""

_MOST_PASSED = 64
"""Clients that one batch passes over, since their next item does not fit into it."""


class _Sharer:
    """One of those who share: what it waits for and was served, and its place in the order."""

    __slots__ = ("cost", "count", "finish", "is_queued", "is_remembered", "start")

    def __init__(self) -> None:
        self.start = 0.0
        self.finish = 0.0
        self.is_queued = False
        self.is_remembered = False
        self.count = 0
        self.cost = 0.0

    def add(self, count: int, cost: float) -> None:
        self.count += count
        self.cost += cost


S = TypeVar("S", bound=_Sharer)
K = TypeVar("K", str, int)
_Entry = tuple[float, int, K, S]


class _Level(Generic[K, S]):
    """Those who share something equally: addresses, or the connections of one."""

    __slots__ = ("_number", "_order", "_resting", "_virtual", "members", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        self.members: dict[K, S] = {}
        self._virtual = 0.0
        self._order: list[_Entry[K, S]] = []
        self._resting: list[_Entry[K, S]] = []
        self._number = 0

    def enter(self, key: K, member: S) -> None:
        """Someone waits. Who has paused begins at the tag of what is being served."""
        if not member.is_queued:
            member.is_queued = True
            member.start = max(self._virtual, member.finish)
            self.put(self.entry(key, member))

    def entry(self, key: K, member: S) -> _Entry[K, S]:
        """The place at a member's tag, behind those of the same tag."""
        self._number += 1
        return member.start, self._number, key, member

    def put(self, entry: _Entry[K, S]) -> None:
        heappush(self._order, entry)

    def first(self) -> _Entry[K, S] | None:
        """The place of the one that is next; `None` when nobody waits in the order."""
        while self._order:
            entry = self._order[0]
            if entry[3].count:
                return entry
            heappop(self._order)
            self._rest(entry[2], entry[3])
        return None

    def take_first(self) -> None:
        """Take the one that `first` gave out of the order."""
        heappop(self._order)

    def charge(self, key: K, member: S, cost: float) -> _Entry[K, S] | None:
        """Someone who is out of the order was served; the place to go back to, if it waits on."""
        member.start = member.finish = member.start + cost
        if member.count:
            return self.entry(key, member)
        self._rest(key, member)
        return None

    def advance(self, start: float) -> None:
        """What is served now has this tag: who rests and is not ahead of it is forgotten."""
        self._virtual = max(self._virtual, start)
        while self._resting and self._resting[0][0] <= self._virtual:
            _, _, key, member = heappop(self._resting)
            member.is_remembered = False
            if member.is_queued:
                continue
            if member.finish > self._virtual:
                self._remember(key, member)
            else:
                del self.members[key]

    def _rest(self, key: K, member: S) -> None:
        member.is_queued = False
        if not member.is_remembered:
            self._remember(key, member)

    def _remember(self, key: K, member: S) -> None:
        member.is_remembered = True
        self._number += 1
        heappush(self._resting, (member.finish, self._number, key, member))


class _Connection(_Sharer, Generic[T]):
    """The items of one connection, in order, with their costs."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        super().__init__()
        self.items: OrderedDict[T, float] = OrderedDict()


class _Address(_Sharer, Generic[T]):
    """The connections of one address."""

    __slots__ = ("level",)

    def __init__(self) -> None:
        super().__init__()
        self.level: _Level[int, _Connection[T]] = _Level()


class FairQueue(Generic[T]):
    """Items of many clients. Not thread-safe: who shares one has a lock.

    Pushing, taking and removing take logarithmic time in the number of clients. The items of one
    connection keep their order.

        queue.push(job, Client("192.0.2.7", 31), cost=0.004)
        job = queue.pop()
    """

    def __init__(self, most: int, most_cost: float = math.inf, things: str = "requests") -> None:
        """Make a queue.

        Args:
            most: items that may wait.
            most_cost: sum of the costs that may wait; an empty queue takes any item.
            things: items in the plural, for messages.
        """
        self.most = most
        self.most_cost = most_cost
        self.cost = 0.0
        self._things = things
        self._count = 0
        self._level: _Level[str, _Address[T]] = _Level()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        """Every item; those of one connection in their order."""
        for address in self._level.members.values():
            for connection in address.level.members.values():
                yield from connection.items

    def check(
        self, client: Client, cost: float, *, spare: int = 0, each: float = 0.0, ahead: float = 0.0
    ) -> None:
        """Find out whether an item may enter.

        It may when it would wait at most for `most_cost`. Others that wait longer do not matter
        to who has less waiting than they: clients take turns.

        Args:
            client: whose it is.
            cost: of serving it.
            spare: items that are about to leave, and do not count.
            each: the cost of every item as it is known by now; 0: what items came with.
            ahead: the cost of what has left the queue, and is waited for, too.

        Raises:
            QueueFull: too much waits, or the client has its share of it already.
        """
        if self._count < max(1, spare):
            return
        address = self._level.members.get(client.address)
        connection = address.level.members.get(client.connection) if address else None
        free = self.most + spare - self._count
        if free <= 0:
            raise QueueFull(
                f"{self.most} {self._things} wait already (setting max_pending); "
                "try again after a moment",
                reason="count",
            )
        scale = each * self._count / self.cost if each and self.cost else 1.0
        if ahead + self._wait(address, connection, cost, scale) > self.most_cost:
            raise QueueFull(
                "what waits already takes as long as requests may wait (setting queue_seconds); "
                "try again after a moment",
                reason="time",
            )
        if not client.address or address is None:
            return
        if address.count >= _ADDRESS_SHARE * free or (
            connection is not None and connection.count >= _CONNECTION_SHARE * free
        ):
            raise QueueFull(
                "requests of this client fill its share of the queue already; send fewer at once, "
                "or try again after a moment",
                reason="share",
            )

    def push(self, item: T, client: Client, cost: float, *, spare: int = 0) -> None:
        """Put an item behind those of its client. An item waits at most once.

        Args:
            item: whatever can be hashed.
            client: whose it is.
            cost: of serving it, in the unit of `most_cost`.
            spare: as `check`.

        Raises:
            QueueFull: as `check`.
        """
        self.check(client, cost, spare=spare)
        address = self._level.members.get(client.address)
        if address is None:
            address = self._level.members[client.address] = _Address()
        connections = address.level
        connection = connections.members.get(client.connection)
        if connection is None:
            connection = connections.members[client.connection] = _Connection()
        connection.items[item] = cost
        self._add(address, connection, 1, cost)
        connections.enter(client.connection, connection)
        self._level.enter(client.address, address)

    def head(self) -> T | None:
        """The item that is next; `None` when nothing waits."""
        found = self._next()
        return next(iter(found[1][3].items)) if found else None

    def pop(self) -> T | None:
        """Take the item that is next; `None` when nothing waits."""
        taken = self.take(lambda item: True, 1)
        return taken[0] if taken else None

    def take(self, fits: Callable[[T], bool], most: int) -> list[T]:
        """Take items in the fair order, passing over clients whose next item does not fit.

        They keep their place, and the order of what they sent, so that they are first soon,
        whatever others send.

        Args:
            fits: called with the next item of one client after the other; what it refuses it must
                refuse to the end of this call.
            most: items to take.
        """
        taken: list[T] = []
        passed: list[tuple[_Level[int, _Connection[T]], _Entry[int, _Connection[T]]]] = []
        aside: list[_Entry[str, _Address[T]]] = []  # addresses with nothing else than passed ones
        while len(taken) < most and len(passed) < _MOST_PASSED and (found := self._next()):
            place, entry = found
            address = place[3]
            item = next(iter(entry[3].items))
            address.level.take_first()
            self._level.take_first()
            back: _Entry[str, _Address[T]] | None = place
            if fits(item):
                taken.append(item)
                back = self._serve(item, place, entry, is_next=not passed)
            else:
                passed.append((address.level, entry))
            if back is not None:
                if address.level.first() is None:
                    aside.append(back)
                else:
                    self._level.put(back)
        for level, entry in passed:
            level.put(entry)
        for place in aside:
            self._level.put(place)
        self._forget_if_empty()
        return taken

    def remove(self, item: T, client: Client) -> bool:
        """Take an item out, wherever it is; `False` when it does not wait."""
        address = self._level.members.get(client.address)
        connection = address.level.members.get(client.connection) if address else None
        cost = connection.items.pop(item, None) if connection else None
        if address is None or connection is None or cost is None:
            return False
        self._add(address, connection, -1, -cost)
        self._forget_if_empty()
        return True

    def clear(self) -> list[T]:
        """Take everything, at once."""
        left = list(self)
        self._count = 0
        self._forget_if_empty()
        return left

    def _next(self) -> tuple[_Entry[str, _Address[T]], _Entry[int, _Connection[T]]] | None:
        """The places of the address and of its connection that are next."""
        place = self._level.first()
        entry = place[3].level.first() if place else None
        return (place, entry) if place and entry else None

    def _serve(
        self,
        item: T,
        place: _Entry[str, _Address[T]],
        entry: _Entry[int, _Connection[T]],
        *,
        is_next: bool,
    ) -> _Entry[str, _Address[T]] | None:
        """Hand out an item, and charge its client for it; the place that its address goes to."""
        start, _, name, address = place
        begin, _, number, connection = entry
        if is_next:
            self._level.advance(start)
            address.level.advance(begin)
        cost = connection.items.pop(item)
        self._add(address, connection, -1, -cost)
        if (back := address.level.charge(number, connection, cost)) is not None:
            address.level.put(back)
        return self._level.charge(name, address, cost)

    def _wait(
        self,
        address: _Address[T] | None,
        connection: _Connection[T] | None,
        cost: float,
        scale: float,
    ) -> float:
        """The cost of what is served until an item that enters now has been, as others take turns.

        In each turn another one is served an item, which may cost more.
        """
        own = max(cost, self.cost / self._count * scale)
        if connection is not None:
            own += connection.cost * scale
        if address is not None:
            connections = address.level.waiting + (connection is None or not connection.count)
            own = min(cost + address.cost * scale, connections * own)
        addresses = self._level.waiting + (address is None or not address.count)
        return min(cost + self.cost * scale, addresses * own)

    def _add(
        self, address: _Address[T], connection: _Connection[T], count: int, cost: float
    ) -> None:
        """Count an item that comes (1) or goes (-1)."""
        waited = (address.count > 0, connection.count > 0)
        self._count += count
        self.cost += cost
        address.add(count, cost)
        connection.add(count, cost)
        self._level.waiting += (address.count > 0) - waited[0]
        address.level.waiting += (connection.count > 0) - waited[1]

    def _forget_if_empty(self) -> None:
        """Nobody waits, so nobody is ahead of anybody."""
        if not self._count:
            self._level = _Level()
            self.cost = 0.0
