"""The sample detector's image, as a customer runs it."""

import io
import json
import threading
from functools import partial
from pathlib import Path

import httpx
import pytest
from PIL import Image

from containers import Podman
from running import SAMPLES
from running_container import HARDENED, PHOTO, running


@pytest.fixture
def start(podman: Podman, loaded_image: str):
    """Start the image: `start(flags of podman, words for the program)`."""
    return partial(running, podman, loaded_image)


def test_one_command_photo_in_boxes_out(start, podman: Podman):
    with start() as container:
        assert container.wait_until_it_serves().endswith("(shipped)")
        assert container.labels()[0] == "person"
        ready = httpx.get(f"{container.url}/v2/health/ready").json()
        assert ready["ladder"]["origin"] == "shipped"
        drawn = httpx.post(f"{container.url}/v1/predict?annotate=1", content=PHOTO.read_bytes())
        with Image.open(io.BytesIO(drawn.content)) as picture, Image.open(PHOTO) as photo:
            assert picture.size == photo.size
            assert picture.convert("RGB").tobytes() != photo.convert("RGB").tobytes()
        container.execute("--healthcheck")
        assert json.loads(container.execute("--doctor", "--json"))["healthy"]
        assert "person" in container.execute("predict", "golden/astronaut.png")
        found = json.loads(
            container.execute(
                "--bench", "http://127.0.0.1:8000", "--requests", "12", "--warmup", "0", "--json"
            )
        )
        assert (found["requests"], found["errors"], found["wrong"]) == (12, {}, 0)
        podman.run("stop", "--time", "10", container.name)
        assert container.records()[-1]["message"] == "stopped"
        assert podman.inspect(container.name)["State"]["ExitCode"] == 0


def test_settings_logs_port_and_cores_are_the_customers(start, podman: Podman, tmp_path: Path):
    settings, logs = tmp_path / "settings", tmp_path / "logs"
    for folder in (settings, logs):
        folder.mkdir()
    logs.chmod(0o777)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    (settings / "settings.toml").write_text('log_level = "debug"\nhttp_port = 9000\n')
    flags = ["-v", f"{settings}:/etc/enginecrate:ro", "-v", f"{logs}:/var/log/enginecrate",
             "-e", "ENGINECRATE_HTTP_PORT=9001", "-e", "ENGINECRATE_LOG_LEVL=x",
             "--cpus", "1"]  # fmt: skip
    with start(*flags, words=("--http-port", "9002"), port=9002) as container:
        container.wait_until_it_serves()
        assert container.labels()[0] == "person"
        container.execute("--healthcheck")
        records = container.records()
        assert "did you mean 'ENGINECRATE_LOG_LEVEL'" in records[0]["message"]
        assert [one["threads"] for one in records if one["message"] == "engines are loaded"] == [1]
        podman.run("stop", container.name)
        lines = (logs / "enginecrate.log").read_text().splitlines()
        assert [json.loads(line) for line in lines] == container.records()
    (settings / "settings.toml").write_text("http_prt = 9000\n")
    with start(*flags) as container:
        assert podman.run("wait", container.name).stdout.strip() == "2"
        assert "did you mean 'http_port'" in podman.run("logs", container.name).stderr


def test_a_settings_file_changes_the_images_own_defaults(start, podman: Podman, tmp_path: Path):
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    (tmp_path / "settings.toml").write_text(
        'host = "127.0.0.1"\nlog_format = "text"\nlog_stream = "stderr"\n'
    )
    flags = ["-v", f"{tmp_path}:/etc/enginecrate:ro"]
    for more in ([], ["-e", "ENGINECRATE_LOG_FORMAT=json", "-e", "ENGINECRATE_HOST=0.0.0.0"]):
        with start(*flags, *more) as container:
            lines = wait_for_errors(podman, container.name)
            assert all(line.startswith("{") for line in lines) == bool(more)
            container.execute("--healthcheck")
            assert json.loads(container.execute("--doctor", "--json"))["healthy"]
            if more:
                assert container.labels()[0] == "person"
            else:
                with pytest.raises(httpx.TransportError):
                    container.predict()


def wait_for_errors(podman: Podman, name: str) -> list[str]:
    """The log on standard error, once the server is ready; standard output has nothing."""
    for _ in range(600):
        shown = podman.run("logs", name)
        assert shown.stdout == ""
        if "serving with" in shown.stderr:
            return shown.stderr.splitlines()
        threading.Event().wait(0.1)
    raise AssertionError(shown.stderr)


@pytest.mark.parametrize("volume", [[], ["--tmpfs", "/var/cache/enginecrate:mode=0777"]])
def test_calibrate_refuses_what_would_be_lost(
    podman: Podman, loaded_image: str, volume: list[str]
):  # fmt: skip
    photos = SAMPLES / "detection" / "calibration"
    done = podman.run(
        "run", "--rm", *HARDENED, *volume, "-v", f"{photos}:/data/images:ro", loaded_image,
        "--calibrate", "/data/images/", check=False,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "podman run --rm -v enginecrate-cache:/var/cache/enginecrate -v " in done.stderr
    assert ":/data/images:ro " in done.stderr
    assert "--calibrate /data/images/" in done.stderr


def test_a_word_in_place_of_the_server(podman: Podman, loaded_image: str):
    done = podman.run("run", "--rm", *HARDENED, loaded_image, "--version")
    assert done.stdout.startswith("enginecrate ")
