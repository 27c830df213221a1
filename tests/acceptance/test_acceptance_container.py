"""The sample detector's image, as a customer runs it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from containers import Podman, free_port
from running import SAMPLES

PROGRAM = "/opt/enginecrate/bin/enginecrate"
HARDENED = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
            "--memory", "1g", "--cpus", "2"]  # fmt: skip
PHOTO = SAMPLES / "detection" / "golden" / "astronaut.png"


@dataclass
class Container:
    """A running container, with its server's port published."""

    podman: Podman
    name: str
    url: str

    def records(self) -> list[dict]:
        """Its log: standard output alone."""
        return [json.loads(line) for line in self.podman.run("logs", self.name).stdout.splitlines()]

    def wait_until_it_serves(self) -> str:
        """What the log says it serves with."""
        for _ in range(600):
            for record in self.records():
                if record["message"].startswith("serving with"):
                    return record["message"]
            threading.Event().wait(0.1)
        raise AssertionError(self.records())

    def predict(self) -> dict:
        reply = httpx.post(f"{self.url}/v1/predict", content=PHOTO.read_bytes(), timeout=60)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def labels(self) -> list[str]:
        return [one["label"] for one in self.predict()["results"][0]["detections"]]


@pytest.fixture(scope="module")
def image(podman: Podman, built_image: Path) -> str:
    return podman.run("pull", "--quiet", f"oci:{built_image}:v1.0.0-ort-cpu").stdout.strip()


@pytest.fixture(scope="module")
def start(podman: Podman, image: str):
    """Start the image: `start(flags of podman, words for the program)`."""

    @contextmanager
    def started(
        *flags: object, words: tuple[str, ...] = (), port: int = 8000
    ) -> Iterator[Container]:
        public = free_port()
        name = podman.run(
            "run", "--detach", "--publish", f"127.0.0.1:{public}:{port}", *HARDENED, *flags, image,
            *words,
        ).stdout.strip()  # fmt: skip
        try:
            yield Container(podman, name, f"http://127.0.0.1:{public}")
        finally:
            podman.run("rm", "--force", "--time", "0", name)

    return started


def test_one_command_photo_in_boxes_out(start, podman: Podman):
    with start() as container:
        assert container.wait_until_it_serves().endswith("(shipped)")
        assert container.labels()[0] == "person"
        ready = httpx.get(f"{container.url}/v2/health/ready").json()
        assert ready["ladder"]["origin"] == "shipped"
        assert podman.run("exec", container.name, PROGRAM, "--healthcheck").stderr == ""
        podman.run("stop", "--time", "10", container.name)
        assert container.records()[-1]["message"] == "stopped"
        assert podman.inspect(container.name)["State"]["ExitCode"] == 0


def test_settings_logs_and_port_are_the_customers(start, podman: Podman, tmp_path: Path):
    settings, logs = tmp_path / "settings", tmp_path / "logs"
    for folder in (settings, logs):
        folder.mkdir()
    logs.chmod(0o777)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    (settings / "settings.toml").write_text('log_level = "debug"\nhttp_port = 9000\n')
    flags = ["-v", f"{settings}:/etc/enginecrate:ro", "-v", f"{logs}:/var/log/enginecrate",
             "-e", "ENGINECRATE_HTTP_PORT=9001", "-e", "ENGINECRATE_LOG_LEVL=x"]  # fmt: skip
    with start(*flags, words=("--http-port", "9002"), port=9002) as container:
        container.wait_until_it_serves()
        assert container.labels()[0] == "person"
        assert podman.run("exec", container.name, PROGRAM, "--healthcheck").stderr == ""
        records = container.records()
        assert "did you mean 'ENGINECRATE_LOG_LEVEL'" in records[0]["message"]
        podman.run("stop", container.name)
        lines = (logs / "enginecrate.log").read_text().splitlines()
        assert [json.loads(line) for line in lines] == container.records()
    (settings / "settings.toml").write_text("http_prt = 9000\n")
    with start(*flags) as container:
        assert podman.run("wait", container.name).stdout.strip() == "2"
        assert "did you mean 'http_port'" in podman.run("logs", container.name).stderr


@pytest.mark.parametrize("volume", [[], ["--tmpfs", "/var/cache/enginecrate:mode=0777"]])
def test_calibrate_refuses_what_would_be_lost(podman: Podman, image: str, volume: list[str]):
    photos = SAMPLES / "detection" / "calibration"
    done = podman.run(
        "run", "--rm", *HARDENED, *volume, "-v", f"{photos}:/data/images:ro", image,
        "--calibrate", "/data/images/", check=False,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "podman run --rm -v enginecrate-cache:/var/cache/enginecrate -v " in done.stderr
    assert ":/data/images:ro " in done.stderr
    assert "--calibrate /data/images/" in done.stderr


def test_calibrated_on_site_survives_restarts_and_the_memory_limit(
    start, podman: Podman, image: str
):
    photos = SAMPLES / "detection" / "calibration"
    volume = ["-v", "calibrated:/var/cache/enginecrate"]
    done = podman.run(
        "run", "--rm", *HARDENED, *volume, "-v", f"{photos}:/data/images:ro", image,
        "--calibrate", "/data/images/", "--json", timeout=400,
    )  # fmt: skip
    made = json.loads(done.stdout)
    assert made["evaluation"]["agreement"]["value"] >= 0.95
    with start(*volume) as container:
        assert container.wait_until_it_serves().endswith("(calibrated on site)")
        answer = container.predict()
        assert answer["engine"]["precision"] in ("int8", "mixed")
        assert made["plan"].startswith(f"sha256:{answer['engine']['plan']}")
    with start(*volume, "--memory", "40m", "--restart", "on-failure:2") as container:
        assert podman.run("wait", container.name).stdout.strip() == "137"
    with start(*volume) as container:
        assert container.wait_until_it_serves().endswith("(calibrated on site)")
        assert container.labels()[0] == "person"
    podman.run("run", "--rm", *HARDENED, *volume, image, "--calibrate", "--reset")
    with start(*volume) as container:
        assert container.wait_until_it_serves().endswith("(shipped)")


def test_the_tools_inside(podman: Podman, image: str):
    def run(*words: str) -> str:
        return podman.run("run", "--rm", *HARDENED, image, *words, timeout=120).stdout

    assert run("--version").startswith("enginecrate ")
    assert json.loads(run("--doctor", "--json"))["healthy"]
    found = json.loads(run("--bench", "--requests", "12", "--warmup", "0", "--json"))
    assert (found["requests"], found["errors"], found["wrong"]) == (12, {}, 0)
    assert "person" in run("predict", "golden/astronaut.png")
