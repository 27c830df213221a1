"""The messages between the supervisor and its children, the engine process and the front ends.

Each child is started by exec with one argument, the descriptor of its control channel. The first
message there is `Start`. A child ends when that channel ends, so none outlives the supervisor.
"""

from __future__ import annotations

import msgspec

from enginecrate.settings import Settings

__all__ = [
    "DESCRIPTORS",
    "TO_CHILD",
    "TO_SUPERVISOR",
    "Attach",
    "Beat",
    "Closed",
    "Connection",
    "Failure",
    "Finish",
    "FrontEnds",
    "Identity",
    "Open",
    "Reload",
    "Reloaded",
    "Start",
    "Taken",
    "Unready",
]


class _Message(msgspec.Struct, array_like=True, tag=True, frozen=True):
    """Encoded as an array with the type's name in front."""


# -- from the supervisor ------------------------------------------------------------------------


class Start(_Message, frozen=True):
    """The first message. It has no descriptors, so that it can be read before any loop runs.

    path: of the project.
    name: of the process, for its log lines: `engine`, `front end 2`.
    number: of the front end, from 1; 0 for the engine process.
    generation: how many processes have had this name, with this one.
    front_ends: that share the machine with it.
    body_bytes: of memory for request bodies and tensors in this process.
    log_socket: a descriptor that takes lines for the log files; -1: there are no log files.
    statistics: a descriptor of the counters of all processes; the page of this one has its number.
    """

    path: str
    settings: Settings
    name: str
    number: int
    generation: int
    body_bytes: int
    front_ends: int = 1
    log_socket: int = -1
    statistics: int = -1


class Attach(_Message, frozen=True):
    """A channel between a front end and the engine process; one descriptor comes with it.

    It goes to both. A front end drops the channel that it had.

    generation: of the engine process.
    front_end: number of the front end.
    """

    generation: int
    front_end: int


class Connection(_Message, frozen=True):
    """A client's connection, as its descriptor. `Taken` answers it before it is read from."""


class FrontEnds(_Message, frozen=True):
    """Front ends that take connections, and how many should, for the detail of `ready`."""

    open: int
    wanted: int


class Reload(_Message, frozen=True):
    """Settings to use from now on; `Reloaded` answers it."""

    generation: int
    settings: Settings


class Unready(_Message, frozen=True):
    """The server will stop: `ready` is 503 from now on, and all else goes on."""


class Finish(_Message, frozen=True):
    """Take no more; end when nothing runs any more, at the latest after so many seconds."""

    seconds: float


# -- from a child -------------------------------------------------------------------------------


class Identity(_Message, frozen=True):
    """The app, as the engine process has read it; its first message.

    stateless: requests of one client may be answered by several front ends.
    """

    app: str
    version: str
    stateless: bool


class Open(_Message, frozen=True):
    """A front end takes connections: its server runs, and the engine process has answered it.

    It does not wait for an engine process that is not there, or whose model is loading.
    """


class Taken(_Message, frozen=True):
    """The oldest connection that was handed over is this front end's now."""


class Closed(_Message, frozen=True):
    """So many connections of this front end have ended."""

    count: int


class Beat(_Message, frozen=True):
    """The engine process is well. It comes at least every half second.

    ready: its model serves.
    patience: seconds that the process may be silent beside the usual: its longest run, or the
        loading of a plan.
    """

    ready: bool
    patience: float


class Reloaded(_Message, frozen=True):
    """A generation of settings is in use."""

    generation: int


class Failure(_Message, frozen=True):
    """An error that ends this process. `code`: of an `EnginecrateError`.

    final: another process would end in the same way, so the server ends, too.
    """

    code: str
    message: str
    final: bool


TO_CHILD = (Attach, Connection, FrontEnds, Reload, Unready, Finish)
"""All messages to a child behind `Start`."""

TO_SUPERVISOR = (Identity, Open, Taken, Closed, Beat, Reloaded, Failure)

DESCRIPTORS: dict[type[msgspec.Struct], int] = {Attach: 1, Connection: 1}
"""Descriptors that come with a message, by its type."""
