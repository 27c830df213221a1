"""Server processes for the tests."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

START_SECONDS = 60

_LAUNCH = """
import sys
from pathlib import Path
from enginecrate.server.start import serve
from enginecrate.settings import load_settings
flags = dict(pair.split("=", 1) for pair in sys.argv[3:])
settings = load_settings(environment={}, flags=flags)
if settings.frontends in ("auto", 0):
    from enginecrate.server.http import connection
    connection.HEAD_SECONDS = float(sys.argv[2])
serve(Path(sys.argv[1]), settings, announce=lambda url: print(url, flush=True))
"""


@dataclass
class RunningServer:
    """A server process. `log` is the file that its standard error goes to."""

    process: subprocess.Popen[str]
    url: str
    log: Path
    front_ends: int = 0

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def client(self, **options) -> httpx.Client:
        options.setdefault("timeout", 30)
        return httpx.Client(base_url=self.url, trust_env=False, **options)

    def records(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def wait_for_log(self, wanted: Callable[[dict], bool], count: int = 1) -> dict:
        """Follow the log until so many records were found that are wanted; the last of them."""
        with self.log.open() as log:
            line = ""
            while True:
                line += log.readline()
                if line.endswith("\n"):
                    record = json.loads(line)
                    count -= wanted(record)
                    if not count:
                        return record
                    line = ""
                elif self.process.poll() is not None:
                    raise AssertionError(f"the server has ended:\n{self.log.read_text()}")
                else:
                    threading.Event().wait(0.01)  # a file cannot be waited for

    def wait_until_ready(self) -> None:
        self.wait_for_log(lambda record: record["message"].startswith("ready"))
        if self.front_ends:
            self._wait_until_all_are_ready()

    def _wait_until_all_are_ready(self) -> None:
        """Each front end has its plan a moment after the engine process."""
        while True:
            with contextlib.ExitStack() as opened:
                clients = [opened.enter_context(self.client()) for _ in range(self.front_ends)]
                answers = [client.get("/v2/health/ready") for client in clients]
            counts = [answer.json()["front_ends"] for answer in answers]
            if all(answer.status_code == 200 for answer in answers) and all(
                count["open"] == count["wanted"] for count in counts
            ):
                return
            threading.Event().wait(0.01)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


class Launcher:
    """Starts servers; `close` ends those that still run.

    front_ends: of each; 0: one process does everything.
    """

    def __init__(self, folder: Path, front_ends: int = 0) -> None:
        self.folder = folder
        self.front_ends = front_ends
        self.servers: list[RunningServer] = []

    def __call__(
        self, project: Path, *, ready: bool = True, head_seconds: float = 10, **settings: object
    ) -> RunningServer:
        """Start a server and wait until it listens, and unless told otherwise is ready."""
        settings = {
            "http_port": 0,
            "cache_dir": self.folder / "cache",
            "frontends": self.front_ends,
            **settings,
        }
        flags = [f"{name}={value}" for name, value in settings.items()]
        log = self.folder / f"server-{len(self.servers)}.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, "-c", _LAUNCH, str(project), str(head_seconds), *flags],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "PYTHONFAULTHANDLER": "1"},
            )
        try:
            url = first_line(process)
            assert url.startswith("http"), log.read_text()
        except BaseException:
            process.kill()
            process.communicate()
            raise
        server = RunningServer(process, url.strip(), log, self.front_ends)
        self.servers.append(server)
        if ready:
            server.wait_until_ready()
        return server

    def close(self) -> None:
        for server in self.servers:
            with contextlib.closing(server.process.stdout):
                try:
                    server.stop()
                except subprocess.TimeoutExpired:
                    server.process.kill()
                    server.process.wait()
                    raise


def first_line(process: subprocess.Popen[str]) -> str:
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: lines.put(process.stdout.readline()), daemon=True).start()
    return lines.get(timeout=START_SECONDS)
