"""Programs as process 1 of a PID namespace, as in a container."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from running import clean_environment


@dataclass
class FirstProcess:
    """A process 1. `outer`: `unshare`, which started it and ends with its exit code."""

    outer: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        """Its number here, outside of the namespace."""
        task = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children")
        return int(task.read_text().split()[0])

    def line(self) -> str:
        """The next line that it prints."""
        assert self.outer.stdout is not None
        return self.outer.stdout.readline().strip()

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self) -> tuple[int, str]:
        """Wait for its end: the exit code, and what it has printed since."""
        out, _ = self.outer.communicate(timeout=60)
        return self.outer.returncode, out


@contextmanager
def first_process(
    command: Sequence[object], folder: Path | None = None, **environment: str
) -> Iterator[FirstProcess]:
    """Run a command as process 1; killed at the end if it still runs."""
    outer = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child=KILL", *map(str, command)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=clean_environment(**environment),
    )
    try:
        yield FirstProcess(outer)
    finally:
        if outer.poll() is None:
            outer.send_signal(signal.SIGKILL)
        outer.communicate()


def as_init(script: str) -> list[str]:
    """A command that becomes init, and then runs a script in the child."""
    begin = "from enginecrate.cli.entrypoint import become_init\nbecome_init()\n"
    return [sys.executable, "-c", begin + script]
