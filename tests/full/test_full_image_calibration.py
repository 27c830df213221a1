"""`--calibrate` in a container: it may be killed at any moment, and what it made survives."""

import json
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from containers import Podman
from running import SAMPLES
from running_container import CACHE, HARDENED, running

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

PHOTOS = SAMPLES / "detection" / "calibration"
VOLUME = ["-v", f"calibrated:{CACHE}"]


def words(photos: Path, image: str, *more: str) -> list[str]:
    return [*HARDENED, *VOLUME, "-v", f"{photos}:/data/images:ro", image, "--calibrate",
            "/data/images/", "--accept-few", *more]  # fmt: skip


def folder_of_volume(podman: Podman) -> Path:
    transport = podman.run("volume", "inspect", "--format", "{{.Mountpoint}}", "calibrated")
    return Path(transport.stdout.strip())


@contextmanager
def calibrating(podman: Podman, image: str, photos: Path):
    """A calibration that runs; killed at the end of the block, and then it was not ready."""
    name = podman.run("run", "--detach", *words(photos, image)).stdout.strip()
    try:
        yield
        podman.run("kill", "--signal", "KILL", name)
        assert podman.run("wait", name).stdout.strip() == "137"
    finally:
        podman.run("rm", "--force", "--time", "0", name)


def wait_for_more(folder: Path, known: set[Path]) -> None:
    for _ in range(3000):
        if set(folder.rglob("*")) - known:
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"nothing new in {folder}")


def serves_with(podman: Podman, image: str) -> tuple[str, dict]:
    """What the log says, and which engine answers."""
    with running(podman, image, *VOLUME) as container:
        said = container.wait_until_it_serves()
        answer = container.predict()
        assert answer["results"][0]["detections"][0]["label"] == "person"
        return said, answer["engine"]


def test_calibrated_on_site(podman: Podman, loaded_image: str, tmp_path: Path):
    podman.run("volume", "create", "calibrated")
    volume = folder_of_volume(podman)
    for part in ("graphs", "calibration"):
        with calibrating(podman, loaded_image, PHOTOS):
            wait_for_more(volume / part, set())
        assert not list(volume.glob("site/*.json"))
        said, engine = serves_with(podman, loaded_image)
        assert said.endswith("(shipped)")
        assert engine["precision"] == "fp32"

    done = podman.run("run", "--rm", *words(PHOTOS, loaded_image, "--json"), timeout=400)
    made = json.loads(done.stdout)
    assert made["evaluation"]["agreement"]["value"] >= 0.95
    said, engine = serves_with(podman, loaded_image)
    assert said.endswith("(calibrated on site)")
    assert engine["precision"] in ("int8", "mixed")
    assert made["plan"].startswith(f"sha256:{engine['plan']}")

    others = tmp_path / "others"
    others.mkdir()
    for path in sorted(PHOTOS.iterdir())[:-1]:
        (others / path.name).write_bytes(path.read_bytes())
    for folder in (others, tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    with calibrating(podman, loaded_image, others):
        wait_for_more(volume / "calibration", set((volume / "calibration").rglob("*")))
    assert serves_with(podman, loaded_image) == (said, engine)

    podman.run("run", "--rm", *HARDENED, *VOLUME, loaded_image, "--calibrate", "--reset")
    assert serves_with(podman, loaded_image)[0].endswith("(shipped)")
