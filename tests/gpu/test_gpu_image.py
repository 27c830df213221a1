"""An image for GPUs in a container with a GPU.

GPU_TEST_IMAGE=oci:build/image:v1.0.0-ort-cuda130 GPU_TEST_KEY=isv.pub \\
    python -m pytest tests/gpu/test_gpu_image.py -m gpu

The image is the sample detector's, with its release. Podman (with CDI) or Docker (with the NVIDIA
Container Toolkit) runs it. Nothing else is needed: CUDA is in the image.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import httpx
import pytest

from containers import free_port
from enginecrate.cuda.device import Gpu, find_gpus
from enginecrate.release.boot.container import ContainerRuntime, find_runtime
from running import SAMPLES

IMAGE = os.environ.get("GPU_TEST_IMAGE", "")
KEY = os.environ.get("GPU_TEST_KEY", "")
PROGRAM = "/opt/enginecrate/bin/enginecrate"
PHOTO = SAMPLES / "detection" / "golden" / "astronaut.png"

pytestmark = pytest.mark.skipif(not (IMAGE and KEY), reason="no image is named")


@pytest.fixture(scope="session", autouse=True)
def gpu() -> Gpu:
    """In place of the one that wants CUDA on the host, too."""
    return find_gpus()[0]


@pytest.fixture(scope="module")
def runtime() -> ContainerRuntime:
    found = find_runtime()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def container(runtime: ContainerRuntime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image, running with the GPU and shut in; gives its URL."""
    archive = tmp_path_factory.mktemp("image") / "app.tar"
    enginecrate("image", "save", IMAGE, archive, "--name", "localhost/gpu-test")
    runtime.run("load", "--input", str(archive))
    archive.unlink()
    port = free_port()
    runtime.run(
        "run", "--detach", "--name", "gpu-test", "--network", "host", "--read-only", "--cap-drop",
        "ALL", "--security-opt", "no-new-privileges", "--memory", "8g", *runtime.gpu_flags,
        f"localhost/gpu-test:{IMAGE.rpartition(':')[2]}", "--http-port", str(port),
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(runtime, url)
        yield url
    finally:
        runtime.run("rm", "--force", "gpu-test")


def enginecrate(*words: object) -> str:
    code = "from enginecrate.cli.main import main; raise SystemExit(main())"
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wait_until_ready(runtime: ContainerRuntime, url: str) -> None:
    for _ in range(1200):
        try:
            if httpx.get(f"{url}/v2/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        threading.Event().wait(0.1)
    raise AssertionError(runtime.run("logs", "gpu-test"))


def test_the_release_is_verified_and_boots_on_the_gpu():
    report = json.loads(enginecrate("verify", IMAGE, "--key", KEY, "--json"))
    assert report["verdict"] == "passed"
    rows = {row["name"]: row["detail"] for row in report["checks"]}
    sys.stdout.write(f"boot: {rows['boot']}\n")


def test_it_serves_on_the_gpu(container: str, gpu: Gpu):
    ready = httpx.get(f"{container}/v2/health/ready").json()
    assert ready["engine"]["device"] == "cuda"
    assert ready["golden"] == "passed"
    assert ready["ladder"]["origin"] == "shipped"
    answer = httpx.post(f"{container}/v1/predict", content=PHOTO.read_bytes()).json()
    assert answer["results"][0]["detections"][0]["label"] == "person"
    assert answer["engine"]["device"] == "cuda"


def test_the_doctor_in_the_container_sees_the_gpu(
    container: str, runtime: ContainerRuntime, gpu: Gpu
):
    found = json.loads(runtime.run("exec", "gpu-test", PROGRAM, "--doctor", "--json"))
    assert found["healthy"]
    assert gpu.name in json.dumps(found)


def test_a_load_run_in_the_container(container: str, runtime: ContainerRuntime):
    words = ("--bench", container, "--connections", "8", "--requests", "400", "--json")
    found = json.loads(runtime.run("exec", "gpu-test", PROGRAM, *words))
    assert (found["errors"], found["wrong"]) == ({}, 0)
    sys.stdout.write(f"{found['throughput']} photos/s, latency {found['latency_ms']} ms\n")


def test_without_the_gpu_the_same_image_answers_and_is_not_ready(
    container: str, runtime: ContainerRuntime
):
    port, name = free_port(), "gpu-test-cpu"
    runtime.run(
        "run", "--detach", "--name", name, "--network", "host", "--read-only", "--cap-drop", "ALL",
        f"localhost/gpu-test:{IMAGE.rpartition(':')[2]}", "--http-port", str(port),
    )  # fmt: skip
    try:
        for _ in range(600):
            try:
                state = httpx.get(f"http://127.0.0.1:{port}/v2/health/ready").json()["state"]
            except httpx.TransportError:
                state = ""
            if state == "degraded":
                break
            threading.Event().wait(0.1)
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/predict", content=PHOTO.read_bytes())
        assert answer.json()["engine"]["device"] == "cpu"
        assert state == "degraded"
    finally:
        runtime.run("rm", "--force", name)
