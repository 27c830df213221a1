"""The image for a GPU, with the engines of two, and one index for two platforms."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from containers import Podman, free_port
from enginecrate.image.audit.audit import audit_image
from enginecrate.image.transports.layout import Layout
from sample_image import SAMPLES, run_program

pytestmark = [pytest.mark.full, pytest.mark.timeout(1500)]

RTX = "v1.0.0-trtrtx17-cuda130"
CPU = "v1.0.0-ort-cpu"
PLATFORMS = "linux/amd64,linux/arm64"
MANY = "application/vnd.oci.image.index.v1+json"


def locked_project(folder: Path, sample: str, *targets: str, platforms: str) -> Path:
    """A copy of a sample with other targets, and its lock."""
    project = Path(shutil.copytree(SAMPLES / sample, folder / sample))
    (project / "enginecrate.lock").unlink(missing_ok=True)
    manifest = project / "enginecrate.toml"
    head, found, tail = manifest.read_text().partition("[targets]\n")
    assert found
    rest = tail.partition("\n[")
    manifest.write_text("".join([head, found, *(f"{one}\n" for one in targets), *rest[1:]]))
    words = [word for one in platforms.split(",") for word in ("--platform", one)]
    run_program("lock", "--project", project, *words)
    return project


def manifest_of(podman: Podman, transport: str, *words: str) -> dict[str, Any]:
    return json.loads(podman.run("inspect", *words, "--raw", transport, tool="skopeo").stdout)


def wait_until_serving(url: str) -> dict[str, Any]:
    """The answer about readiness, once an engine serves: it may be 503."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            answer = httpx.get(url)
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.json()["state"] in ("ready", "degraded"):
            return answer.json()
        time.sleep(0.2)
    raise AssertionError(f"{url} never names an engine that serves")


def layers(manifest: dict[str, Any]) -> list[str]:
    return [layer["digest"] for layer in manifest["layers"]]


@pytest.fixture(scope="module")
def rtx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout with the image for two GPUs, and those for each of them alone."""
    project = locked_project(
        tmp_path_factory.mktemp("rtx"), "detection",
        'stacks = ["trtrtx17-cuda130"]', 'gpus = ["A10", "L4"]', platforms="linux/amd64",
    )  # fmt: skip
    run_program("image", "build", "--project", project, timeout=1200)
    run_program("image", "build", "--project", project, "--gpu", "A10,L4", "--offline")
    return project / "build" / "image"


def test_images_for_one_gpu_share_all_but_the_engine(podman: Podman, rtx: Path):
    whole = layers(manifest_of(podman, f"oci:{rtx}:{RTX}"))
    for device, engine in (("sm86", whole[-2]), ("sm89", whole[-1])):
        found = manifest_of(podman, f"oci:{rtx}:{RTX}-{device}")
        assert layers(found) == [*whole[:-2], engine]
        assert found["annotations"]["io.enginecrate.engines"] == f"cpu:fp32,{device}:fp32"


def test_the_image_says_what_it_needs(podman: Podman, rtx: Path):
    notes = manifest_of(podman, f"oci:{rtx}:{RTX}")["annotations"]
    assert notes["io.enginecrate.compute-capabilities"] == "7.5,8.0,8.6,8.9,12.0"
    assert notes["io.enginecrate.minimum-driver"] == "580.65.06"
    assert int(notes["io.enginecrate.gpu-memory-bytes"]) > 512 * 2**20
    assert int(notes["io.enginecrate.disk-bytes"]) > int(notes["io.enginecrate.download-bytes"])


def test_the_audit_finds_nothing_but_the_missing_signature(rtx: Path):
    report = audit_image(Layout(rtx), RTX)
    assert {finding.rule for finding in report.findings} <= {"EC-IMG-070"}


def test_a_gpu_that_is_demanded_and_missing_ends_it(podman: Podman, rtx: Path):
    image = podman.run("pull", "--quiet", f"oci:{rtx}:{RTX}").stdout.strip()
    done = podman.run("run", "--rm", image, "--minimum-engine", "gpu", check=False)
    assert done.returncode
    assert "start it with its GPUs" in done.stderr
    asked = podman.run("run", "--rm", image, "--doctor", "--json", check=False)
    checks = {one["check"]: one["status"] for one in json.loads(asked.stdout)["findings"]}
    assert checks["tensorrt-rtx"] == "ok"


@pytest.mark.parametrize("minimum", ["auto", "cpu"])
def test_without_a_gpu_it_starts_on_the_cpu_and_says_so(podman: Podman, rtx: Path, minimum: str):
    image = podman.run("pull", "--quiet", f"oci:{rtx}:{RTX}").stdout.strip()
    port = free_port()
    name = podman.run(
        "run", "--detach", "--network", "host", "--env", f"ENGINECRATE_HTTP_PORT={port}",
        "--env", f"ENGINECRATE_MINIMUM_ENGINE={minimum}", image,
    ).stdout.strip()  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        found = wait_until_serving(f"{address}/v2/health/ready")
        assert found["ready"] == (minimum == "cpu")
        assert found["engine"]["device"] == "cpu"
        assert found["ladder"]["origin"] == "shipped"
        log = podman.run("logs", name)
        assert "start it with its GPUs" in log.stdout + log.stderr
        photo = (SAMPLES / "detection" / "golden" / "astronaut.png").read_bytes()
        answer = httpx.post(f"{address}/v1/predict", content=photo, timeout=60).json()
        assert "person" in {one["label"] for one in answer["results"][0]["detections"]}
        health = podman.run("exec", name, "enginecrate", "--healthcheck", check=False)
        assert (health.returncode == 0) == (minimum == "cpu")
    finally:
        podman.run("rm", "--force", "--time", "0", name)


def test_a_release_of_it_is_made_and_verified_where_no_gpu_is(
    podman: Podman, rtx: Path, tmp_path: Path
):
    names = ("CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF")
    secret = {name: podman.environment[name] for name in names}
    secret["ENGINECRATE_KEY_PASSPHRASE"] = "correct horse battery staple"
    run_program("keys", "new", tmp_path / "isv", **secret)
    made = run_program(
        "release", "create", "--project", rtx.parents[1], "--key", tmp_path / "isv.key", **secret
    )
    assert "the image is for GPUs, and this machine has none" in made.stderr
    done = run_program(
        "verify", f"oci:{rtx}:{RTX}", "--key", tmp_path / "isv.pub", "--json", check=False,
        **secret,
    )  # fmt: skip
    rows = {one["name"]: one for one in json.loads(done.stdout)["checks"]}
    assert done.returncode == 11
    assert {name for name, row in rows.items() if row["status"] != "passed"} == {"boot", "golden"}
    assert "is for GPUs" in rows["boot"]["detail"]


@pytest.fixture(scope="module")
def two_platforms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout with one image of the classifier for two platforms."""
    project = locked_project(
        tmp_path_factory.mktemp("index"), "classification",
        'stacks = ["ort-cpu"]', platforms=PLATFORMS,
    )  # fmt: skip
    run_program("image", "build", "--project", project, "--platform", PLATFORMS, timeout=1200)
    return project / "build" / "image"


def test_one_name_holds_both_platforms(podman: Podman, two_platforms: Path):
    transport = f"oci:{two_platforms}:{CPU}"
    index = manifest_of(podman, transport)
    assert index["mediaType"] == MANY
    assert [one["platform"]["architecture"] for one in index["manifests"]] == ["amd64", "arm64"]
    for architecture in ("amd64", "arm64"):
        words = ("inspect", "--override-arch", architecture, transport)
        found = json.loads(podman.run(*words, tool="skopeo").stdout)
        assert found["Architecture"] == architecture
        assert found["Labels"]["io.enginecrate.platforms"] == PLATFORMS
