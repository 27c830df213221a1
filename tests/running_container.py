"""The sample detector's image as a running container."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from containers import Podman, free_port

PROGRAM = "/opt/enginecrate/bin/enginecrate"
CACHE = "/var/cache/enginecrate"
HARDENED = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
            "--memory", "1g", "--cpus", "2"]  # fmt: skip
PHOTO = Path(__file__).parents[1] / "samples" / "detection" / "golden" / "astronaut.png"


@dataclass
class Container:
    """A running container, with its server's port published."""

    podman: Podman
    name: str
    url: str

    def records(self) -> list[dict[str, Any]]:
        """Its log: standard output alone."""
        return [json.loads(line) for line in self.podman.run("logs", self.name).stdout.splitlines()]

    def wait_until_it_serves(self, starts: int = 1) -> str:
        """What the log says it serves with, in its n-th start."""
        for _ in range(600):
            said = [one["message"] for one in self.records()]
            serving = [message for message in said if message.startswith("serving with")]
            if len(serving) >= starts:
                return serving[-1]
            threading.Event().wait(0.1)
        raise AssertionError(self.records())

    def execute(self, *words: str) -> str:
        """Run the program once more in the container; its standard output."""
        return self.podman.run("exec", self.name, PROGRAM, *words).stdout

    def predict(self) -> dict[str, Any]:
        reply = httpx.post(f"{self.url}/v1/predict", content=PHOTO.read_bytes(), timeout=60)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def labels(self) -> list[str]:
        """What it sees, the surest first."""
        return [one["label"] for one in self.predict()["results"][0]["detections"]]

    def host_process(self) -> int:
        """The server's process as the host counts: the only child of the container's init."""
        init = self.podman.inspect(self.name)["State"]["Pid"]
        (child,) = Path(f"/proc/{init}/task/{init}/children").read_text().split()
        return int(child)


@contextmanager
def running(
    podman: Podman, image: str, *flags: str, words: Sequence[str] = (), port: int = 8000,
    timeout: float = 120,
) -> Iterator[Container]:  # fmt: skip
    """A container of `image`; removed at the end of the block.

    flags: of `podman run`. words: for the program. port: where the program listens.
    timeout: seconds for `podman run`, with the pull.
    """
    public = free_port()
    name = podman.run(
        "run", "--detach", "--publish", f"127.0.0.1:{public}:{port}", *HARDENED, *flags,
        image, *words, timeout=timeout,
    ).stdout.strip()  # fmt: skip
    try:
        yield Container(podman, name, f"http://127.0.0.1:{public}")
    finally:
        podman.run("rm", "--force", "--time", "0", name)
