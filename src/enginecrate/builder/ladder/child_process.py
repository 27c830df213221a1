"""A plan is built in a process of its own: watched, in the background, gone with the server.

The server sends one `Job`; the process answers with lines of JSON, each of them a `Told`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any

import msgspec

from enginecrate.builder.plans.memory import free_bytes, session_bytes
from enginecrate.errors import (
    BuildOutOfMemory,
    EnginecrateError,
    PlanBuildFailed,
    SystemRefused,
    error_class,
)
from enginecrate.values import PlanInfo, Precision, Progress

__all__ = [
    "Built",
    "BuiltInMemory",
    "ChildBuild",
    "Failed",
    "Job",
    "Noted",
    "Stepped",
    "Told",
    "allowed_bytes",
    "error_of",
]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.25
"""Time between two measurements of the build's memory."""

_KEPT_ERRORS = 4096

_MIB = 2**20


class Job(msgspec.Struct, frozen=True):
    """A target that is to be built. `spare`: file that takes the plan if no disk does."""

    project: str
    stack: str
    rung: int
    device: str
    precision: Precision
    settings: dict[str, Any]
    spare: int


class Stepped(msgspec.Struct, frozen=True, tag=True):
    """Progress of the build, with the arguments of a `Progress`."""

    step: str
    done: int
    total: int


class Noted(msgspec.Struct, frozen=True, tag=True):
    """A log record. `level`: as in `logging`."""

    level: int
    message: str


class Built(msgspec.Struct, frozen=True, tag=True):
    """The plan is in the cache, under this key."""

    key: str


class BuiltInMemory(msgspec.Struct, frozen=True, tag=True):
    """The cache had no room: the plan is in the spare file."""

    info: PlanInfo


class Failed(msgspec.Struct, frozen=True, tag=True):
    """There is no plan. `code`: of an `EnginecrateError`."""

    code: str
    message: str


Told = Stepped | Noted | Built | BuiltInMemory | Failed


def error_of(failed: Failed) -> EnginecrateError:
    """The error that was raised in the other process, without its own attributes."""
    kind = error_class(failed.code)
    error = kind.__new__(kind, failed.message)
    Exception.__init__(error, failed.message)
    return error


def allowed_bytes(setting: int) -> int:
    """Memory that one build may take: the setting `build_memory_bytes`, or half of what is free."""
    return setting or free_bytes() // 2


class ChildBuild:
    """One build. `run` is called once; `stop` may be called at any time, from any thread."""

    def __init__(self, job: Job, memory_bytes: int) -> None:
        """`memory_bytes`: most that it may take; 0: no limit."""
        self._job = job
        self._limit = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def run(self, progress: Progress) -> Built | BuiltInMemory:
        """Build, and tell how far it is.

        Raises:
            BuildOutOfMemory: it needed more memory than it may have.
            PlanBuildFailed: it was stopped, or ended without a result.
            EnginecrateError: whatever made the build fail.
        """
        process = self._start()
        told: Told | None = None
        errors = bytearray()
        try:
            for line in self._lines(process, errors):
                told = _decoded(line)
                if isinstance(told, Stepped):
                    progress(told.step, told.done, told.total)
                elif isinstance(told, Noted):
                    _log.log(told.level, "%s", told.message)
        finally:
            self._end(process)
        if isinstance(told, Failed):
            raise error_of(told)
        if isinstance(told, (Built, BuiltInMemory)):
            return told
        raise self._why(process.returncode, errors)

    def stop(self) -> None:
        """End the build, with every process that it has started."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                _kill(self._process)

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            # The child finds the same packages as we do, whatever put them on the path.
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        }
        with self._lock:
            if self._stopped:
                raise PlanBuildFailed("the build was stopped")
            try:
                # In a session of its own, it does not get the Ctrl-C that is meant for the server.
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "enginecrate.builder.ladder.child_main"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                    env=environment,
                    pass_fds=(self._job.spare,),
                    start_new_session=True,
                )
            except OSError as exc:
                raise SystemRefused(f"cannot start a build: {exc.strerror}") from exc
            return self._process

    def _lines(self, process: subprocess.Popen[bytes], errors: bytearray) -> Iterator[bytes]:
        """The lines of the child until it closes its output; the end of its errors is kept."""
        with contextlib.suppress(BrokenPipeError):
            _pipe(process.stdin).write(msgspec.json.encode(self._job) + b"\n")
        output, rest = _pipe(process.stdout).fileno(), b""
        with selectors.DefaultSelector() as selector:
            for pipe in (_pipe(process.stdout), _pipe(process.stderr)):
                selector.register(pipe, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select(_LOOK_SECONDS):
                    data = os.read(key.fd, 65536)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fd == output:
                        *lines, rest = (rest + data).split(b"\n")
                        yield from lines
                    else:
                        errors += data
                        del errors[:-_KEPT_ERRORS]
                self._check_memory(process)

    def _check_memory(self, process: subprocess.Popen[bytes]) -> None:
        if self._limit and session_bytes(process.pid) > self._limit:
            raise BuildOutOfMemory(
                f"it needs more than the {self._limit // _MIB} MiB of memory that it may have, and "
                "was stopped; give it more with the setting build_memory_bytes"
            )

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            _kill(process)
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            _pipe(pipe).close()

    def _why(self, status: int, errors: bytearray) -> Exception:
        if self._stopped:
            return PlanBuildFailed("the build was stopped")
        if status == -signal.SIGKILL:
            return BuildOutOfMemory(
                "its process was killed, as the system does when memory runs out; make room, or "
                "build the plan on another machine"
            )
        said = errors.decode(errors="replace").strip().splitlines() or ["no message"]
        _log.error("the build process ended with status %d:\n%s", status, "\n".join(said))
        return PlanBuildFailed(
            f"its process ended without a plan (status {status}): {said[-1]}; the log tells more"
        )


def _decoded(line: bytes) -> Told:
    told: Told = msgspec.json.decode(line, type=Told)  # type: ignore[arg-type,unused-ignore]
    return told


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the process was started without pipes")
    return pipe


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole group; it may be that only what it has started is left of it."""
    if process.returncode is None:  # else its number may belong to another process by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
