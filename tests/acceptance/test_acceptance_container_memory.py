"""A container that needs more memory than it may have."""

import hashlib
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from PIL import Image

from containers import Podman
from running_container import CACHE, Container, running


def huge_photo() -> bytes:
    """Small on the wire, 192 MB when it is decoded; still allowed by `max_image_pixels`."""
    file = io.BytesIO()
    Image.new("RGB", (8000, 8000), (90, 120, 150)).save(file, "PNG")
    return file.getvalue()


def overload(container: Container, photo: bytes) -> None:
    """Ask for several large pictures at once; no client will get one."""

    def ask(_: int) -> None:
        with httpx.Client(timeout=60) as client:
            client.post(f"{container.url}/v1/predict?annotate=1", content=photo)

    with ThreadPoolExecutor(4) as clients:
        outcomes = [clients.submit(ask, number) for number in range(4)]
    assert any(isinstance(one.exception(), httpx.TransportError) for one in outcomes)


def sums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.full
def test_it_is_killed_starts_again_and_its_cache_is_whole(podman: Podman, loaded_image: str):
    flags = ["-v", f"limited:{CACHE}", "-e", "ENGINECRATE_PLANS_DIR=/nowhere",
             "--memory", "400m", "--restart", "always"]  # fmt: skip
    with running(podman, loaded_image, *flags) as container:
        assert container.wait_until_it_serves().endswith("(built here)")
        volume = Path(podman.run("volume", "inspect", "--format", "{{.Mountpoint}}", "limited")
                      .stdout.strip())  # fmt: skip
        before = sums(volume)
        assert [name for name in before if name.endswith("plan.onnx")]
        assert container.labels()[0] == "person"
        overload(container, huge_photo())
        assert container.wait_until_it_serves(starts=2).endswith("(cached)")
        assert container.labels()[0] == "person"
        assert podman.inspect(container.name)["RestartCount"] == 1
        died = podman.run(
            "events", "--stream=false", "--format", "json", "--filter", "event=died",
            "--filter", f"container={container.name}",
        ).stdout  # fmt: skip
        assert [json.loads(line)["ContainerExitCode"] for line in died.splitlines()] == [137]
        assert sums(volume) == before
