"""Real server processes for tests."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(sys.executable).with_name("enginecrate")
SAMPLES = ROOT / "samples"


@dataclass
class RunningServer:
    """A server of the installed program.

    log: what it has logged so far, one dictionary a line.
    """

    process: subprocess.Popen[str]
    url: str = ""
    log: list[dict[str, object]] = field(default_factory=list)
    reader: threading.Thread | None = None

    @property
    def address(self) -> str:
        """`host:port`, as tritonclient takes it."""
        return self.url.removeprefix("http://")


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment without the developer's own settings."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("ENGINECRATE_")}
    return kept | extra


@contextmanager
def serving(project: Path, cache: Path, *flags: str) -> Iterator[RunningServer]:
    """A server process; entered when its model is ready, or will never be."""
    command = [PROGRAM, "serve", "--project", project, "--http-port", "0", "--log-format", "json",
               "--cache-dir", cache, *flags]  # fmt: skip
    process = subprocess.Popen(
        command,
        env=clean_environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    server = RunningServer(process)
    loaded = threading.Event()
    server.reader = threading.Thread(target=_read, args=(server, loaded), daemon=True)
    server.reader.start()
    try:
        loaded.wait(60)
        if process.poll() is not None or not server.url:
            raise AssertionError(f"the server of {project} did not start: {server.log}")
        yield server
    finally:
        process.terminate()
        process.wait(10)
        server.reader.join(5)
        if process.stderr is not None:
            process.stderr.close()


def _read(server: RunningServer, loaded: threading.Event) -> None:
    for line in server.process.stderr or ():
        try:
            entry = json.loads(line)
        except ValueError:
            entry = {"message": line}
        server.log.append(entry)
        server.url = str(entry.get("url", server.url))
        if entry.get("logger") == "enginecrate.server.model.load":
            loaded.set()
    loaded.set()
