"""The isolated process as its parent sees it: started by exec, called, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from enginecrate.isolation.wire import Answer, Request, receive_answer, send

__all__ = ["CallLimits", "IsolatedProcess", "Outcome"]

_MAIN = "enginecrate.isolation.child_main"


@dataclass(frozen=True, slots=True)
class CallLimits:
    """The most that a call may take.

    cpu_seconds: processor time. memory_bytes: address space that it may add.
    seconds: by the clock; what sleeps has an end, too.
    """

    cpu_seconds: int
    memory_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call.

    answer: `None` when the process ended; then `status` is how, as `Popen.returncode` says it:
        -SIGALRM when its time by the clock was over.
    """

    answer: Answer | None
    status: int = 0


class IsolatedProcess:
    """The process, and the end of the socket that is ours. It serves one call at a time.

    After a call without an answer it is gone.
    """

    def __init__(self, modules: Sequence[str], *, niceness: int = 0, bound: bool = False) -> None:
        """Start it.

        Args:
            modules: imported ahead of the first call.
            niceness: added to ours.
            bound: the kernel ends it with the thread that starts it, even in the middle of a call.

        Raises:
            OSError: no process can be started.
        """
        self.owner = os.getpid()
        self.used = time.monotonic()
        self.channel, theirs = socket.socketpair()
        self._ending = threading.Lock()
        environment = {
            **os.environ,
            # The child finds the same packages as we do, whatever put them on the path.
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
            "OPENBLAS_NUM_THREADS": "1",
        }
        command = [sys.executable, "-P", "-m", _MAIN, str(theirs.fileno()), str(niceness)]
        command += [str(os.getpid() if bound else 0), *modules]
        try:
            with theirs:
                self.process = subprocess.Popen(  # noqa: S603 -- our own interpreter and module
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=environment,
                    pass_fds=(theirs.fileno(),),
                )
        except OSError:
            self.channel.close()
            raise

    def call(
        self, function: str, data: Sequence[bytes | memoryview], limits: CallLimits
    ) -> Outcome:
        """Call a function.

        Args:
            function: `module:function`; it takes bytes and returns bytes.
            data: its argument, in parts.
            limits: of this call.
        """
        self.channel.settimeout(limits.seconds)
        request = Request(function.encode(), data, limits.cpu_seconds, limits.memory_bytes)
        try:
            send(self.channel, request)
            answer = receive_answer(self.channel)
        except TimeoutError:
            self.end()
            return Outcome(None, -signal.SIGALRM)
        except (EOFError, OSError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
            return Outcome(None, self.end())
        except BaseException:  # Ctrl-C: what the child does has no reader any more
            self.end()
            raise
        self.used = time.monotonic()
        return Outcome(answer)

    @property
    def is_alive(self) -> bool:
        """False when it has ended, or was killed."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Kill it, from any thread; the call that runs is told so."""
        with self._ending, contextlib.suppress(ProcessLookupError):
            if self.owner == os.getpid():
                self.process.kill()

    def end(self) -> int:
        """Kill it if it still runs and is ours. Returns its status."""
        self.channel.close()
        if self.owner != os.getpid():  # we are a fork of who started it
            return 0
        self.kill()
        return self.process.wait()
