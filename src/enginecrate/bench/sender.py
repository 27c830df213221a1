"""The load of one process: its connections, and when each of them sends.

In a closed loop a connection sends its next request once the last is answered. In an open loop
requests have an intended start, whatever the server does; one that finds no free connection waits
for one, and its latency begins at the intended start all the same. So a server that stalls is
charged for every request that should have been sent meanwhile (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator

from enginecrate.bench.arrivals import arrival_times
from enginecrate.bench.connection import LoadConnection
from enginecrate.bench.counts import Counts
from enginecrate.bench.messages import FromProcess, Job, Start
from enginecrate.bench.timer import Timer

__all__ = ["TICK_SECONDS", "Sender"]

TICK_SECONDS = 0.25
_PAUSE_SECONDS = 0.1
"""After an error, so that a server that is not there does not become a busy loop."""
_SCANS = 20
"""Looks for requests whose time is over, in one timeout."""
_NS = 1_000_000_000
_now = time.monotonic_ns


class Sender:
    """Sends the requests of a job; everything happens in one thread."""

    def __init__(self, job: Job, tell: Callable[[FromProcess], None]) -> None:
        self._job = job
        self._tell = tell
        self._counts = Counts(len(job.requests), job.stable)
        self._next = job.first
        self._left = job.most
        self._until = 0
        self._measure = 0
        self._stopping = False
        self._under_way = 0
        self._open: set[LoadConnection] = set()
        self._opening = 0
        self._idle: list[LoadConnection] = []
        self._waiting: deque[int] = deque()
        self._arrivals: Iterator[int] | None = None
        self._arrival = 0
        self._timer: Timer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._finished = asyncio.Event()
        self._fault: BaseException | None = None
        self._tls = ssl.create_default_context() if job.address.secure else None

    async def run(self, start: Start) -> None:
        """Send until the end, or until `stop`; then tell the last counts."""
        self._until, self._measure = start.until, start.measure
        await asyncio.sleep(max(0, start.begin - _now()) / _NS)
        self._counts.begin(start.begin)
        loops = [
            asyncio.create_task(work)
            for work in (self._end_in_time(start.until), self._ticks(start), self._scan())
        ]
        self._begin(start.begin)
        await self._finished.wait()
        for loop in loops:
            loop.cancel()
        if self._fault is not None:
            raise self._fault
        self._close()
        self._tell(self._counts.tick(_now(), len(self._open), done=True))

    def stop(self, *, drop: bool) -> None:
        """Begin no more requests. `drop`: wait for no answer, either."""
        self._stopping = True
        self._waiting.clear()
        if drop or not self._under_way:
            self._finished.set()

    def connected(self, connection: LoadConnection) -> None:
        self._opening -= 1
        self._open.add(connection)
        self._ready(connection, _now())

    def answered(self, connection: LoadConnection, buffer: bytearray, body: int, end: int) -> None:
        now = _now()
        self._under_way -= 1
        connection.sent = 0
        if connection.counted:
            counts = self._counts
            if buffer.startswith(b" 200", 8):
                counts.latencies.append(now - connection.started)
                counts.last = now
                counts.answers.add(connection.payload, buffer, body, end)
            else:
                counts.errors[f"status {buffer[9:12].decode('latin-1')}"] += 1
        if connection.closing:
            connection.finish()
        else:
            self._ready(connection, now)

    def lost(self, connection: LoadConnection, reason: str) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if connection.sent:
            connection.sent = 0
            self._under_way -= 1
            self._fail(reason, connection.started)
            asyncio.get_running_loop().call_later(_PAUSE_SECONDS, self._replace)
        else:
            self._replace()

    def _begin(self, begin: int) -> None:
        arrivals = self._job.arrivals
        if arrivals is None:
            for _ in range(self._job.connections):
                self._open_one()
            return
        self._arrivals = arrival_times(arrivals, begin)
        self._timer = Timer()
        asyncio.get_running_loop().add_reader(self._timer.descriptor, self._arrive)
        self._arrival = next(self._arrivals)
        self._timer.set(self._arrival)

    async def _end_in_time(self, until: int) -> None:
        if until:
            await asyncio.sleep(max(0, until - _now()) / _NS)
            self._end()

    async def _ticks(self, start: Start) -> None:
        """Tell the counts in regular distances; one tick ends with the warm-up."""
        step = round(TICK_SECONDS * _NS)
        at = start.begin
        while True:
            at = start.measure if at < start.measure <= at + step else at + step
            await asyncio.sleep(max(0, at - _now()) / _NS)
            self._tell(self._counts.tick(_now(), len(self._open), done=False))

    async def _scan(self) -> None:
        """End requests whose time is over."""
        limit = round(self._job.timeout * _NS)
        reason = f"no answer within {self._job.timeout:g} s"
        while True:
            await asyncio.sleep(self._job.timeout / _SCANS)
            oldest = _now() - limit
            for connection in [one for one in self._open if one.sent > 0 and one.started < oldest]:
                connection.abort(reason)
            while self._waiting and self._waiting[0] < oldest:
                self._fail(reason, self._waiting.popleft())

    def _end(self) -> None:
        """The time is over, or all requests were sent: wait for the answers."""
        self._stopping = True
        self._check_end()

    def _check_end(self) -> None:
        if self._stopping and not self._under_way and not self._waiting:
            self._finished.set()

    def _may_send(self) -> bool:
        if self._stopping:
            return False
        if self._left == 0:
            self._end()
            return False
        return True

    def _take(self, started: int) -> None:
        """One request less to send."""
        if self._left > 0 and started >= self._measure:
            self._left -= 1

    def _ready(self, connection: LoadConnection, now: int) -> None:
        """A connection is free."""
        if self._arrivals is not None:
            if self._waiting:
                self._send(connection, self._waiting.popleft(), now)
            else:
                self._idle.append(connection)
                self._check_end()
        elif self._may_send():
            self._take(now)
            self._send(connection, now, now)
        else:
            self._check_end()

    def _send(self, connection: LoadConnection, started: int, now: int) -> None:
        requests = self._job.requests
        number = self._next % len(requests)
        self._next += 1
        self._under_way += 1
        connection.send(requests[number], number, started, now, started >= self._measure)

    def _arrive(self) -> None:
        """The intended start of one request or more has come."""
        assert self._timer is not None and self._arrivals is not None  # noqa: PT018, S101
        self._timer.take()
        now = _now()
        while self._arrival <= now and self._may_send_at(self._arrival):
            self._start_one(self._arrival, now)
            self._arrival = next(self._arrivals)
        if self._may_send_at(self._arrival):
            self._timer.set(self._arrival)

    def _may_send_at(self, intended: int) -> bool:
        return self._may_send() and not (self._until and intended >= self._until)

    def _start_one(self, intended: int, now: int) -> None:
        self._take(intended)
        if intended >= self._measure:
            self._counts.lag.append(now - intended)
        if self._idle:
            self._send(self._idle.pop(), intended, now)
            return
        self._waiting.append(intended)
        if len(self._open) + self._opening < self._job.connections:
            self._open_one()

    def _replace(self) -> None:
        """Open another connection in place of a lost one, when it is needed."""
        if self._stopping:
            self._check_end()
        elif self._waiting or (self._arrivals is None and self._may_send() and self._needed()):
            self._open_one()

    def _needed(self) -> bool:
        """False when the connections that are being opened take all requests that are left."""
        return self._left < 0 or self._opening < self._left

    def _open_one(self) -> None:
        self._opening += 1
        task = asyncio.get_running_loop().create_task(self._connect())
        self._tasks.add(task)
        task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._fault = task.exception()
            self._finished.set()

    async def _connect(self) -> None:
        address = self._job.address
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._job.timeout):
                await loop.create_connection(
                    lambda: LoadConnection(self), address.host, address.port, ssl=self._tls
                )
            return
        except TimeoutError:
            reason = f"no connection within {self._job.timeout:g} s"
        except OSError as exc:  # also of TLS and of the resolver
            reason = exc.strerror or str(exc) or type(exc).__name__
        self._opening -= 1
        self._refused(reason)
        asyncio.get_running_loop().call_later(_PAUSE_SECONDS, self._replace)

    def _refused(self, reason: str) -> None:
        """A connection could not be opened: one request has failed."""
        if self._arrivals is not None:
            if self._waiting:
                self._fail(reason, self._waiting.popleft())
        elif self._may_send():
            now = _now()
            self._take(now)
            self._fail(reason, now)

    def _fail(self, reason: str, started: int) -> None:
        if started >= self._measure:
            self._counts.errors[reason] += 1
        self._check_end()

    def _close(self) -> None:
        if self._timer is not None:
            asyncio.get_running_loop().remove_reader(self._timer.descriptor)
            self._timer.close()
        for task in self._tasks:
            task.cancel()
        for connection in list(self._open):
            connection.finish()
