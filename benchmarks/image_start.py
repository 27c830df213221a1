"""How long a customer waits: from `podman run` to the first correct detection.

Builds the sample detector's image for `ort-cpu`, and starts it as the documentation recommends:
read-only, without capabilities, as its own user, with 1 GiB of memory and 2 cores. Somebody asks
with a photo until the person on it is found. Needs podman, runc and docker-registry.

- here: the image lies in podman's storage.
- cold: podman's storage is empty; the image is pulled from a registry over a line of 100 Mbit/s.

Prediction, written before the first run, for 2 cores: here 3.5 s (1 s for podman, 1.5 s to
import, 1 s to load and to prove the model). Cold 6 s for 75 MB on the line, the same again to
unpack 287 MB, because podman does not unpack layers side by side, and then as here: 15 s.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

from machine import describe

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from containers import Podman, free_port, running_registry
from running_container import HARDENED, PHOTO
from sample_image import TAG, build_sample_image
from shaped_proxy import shaped_proxy

LINE = 100e6 / 8
"""Bytes per second."""


def seconds_to_detection(podman: Podman, image: str, *flags: str) -> float:
    """Run the image, and ask until its answer is right."""
    port = free_port()
    started = time.perf_counter()
    name = podman.run(
        "run", "--detach", "--publish", f"127.0.0.1:{port}:8000", *HARDENED, *flags, image,
        timeout=600,
    ).stdout.strip()  # fmt: skip
    while not finds_person(f"http://127.0.0.1:{port}/v1/predict"):
        time.sleep(0.02)
    seconds = time.perf_counter() - started
    podman.run("rm", "--force", "--volumes", "--time", "0", name)
    return seconds


def finds_person(url: str) -> bool:
    try:
        reply = httpx.post(url, content=PHOTO.read_bytes(), timeout=60)
    except httpx.TransportError:  # it does not listen yet
        return False
    if reply.status_code == 503:  # it listens, and its model is not proven yet
        return False
    found = reply.raise_for_status().json()["results"][0]["detections"]
    if found[0]["label"] != "person":
        sys.exit(f"a wrong answer: {found}")
    return True


def start_here(podman: Podman, layout: Path, runs: int) -> list[float]:
    image = podman.run("pull", "--quiet", f"oci:{layout}:{TAG}").stdout.strip()
    return [seconds_to_detection(podman, image) for _ in range(runs)]


def start_cold(podman: Podman, layout: Path, folder: Path, runs: int) -> tuple[list[float], int]:
    """Also returns how many bytes each pull took, on average."""
    seconds = []
    with (
        running_registry(folder) as registry,
        shaped_proxy(registry.address, LINE) as line,
    ):
        podman.run(
            "copy", "--dest-tls-verify=false", f"oci:{layout}:{TAG}",
            f"docker://{registry.address}/app:{TAG}", tool="skopeo",
        )  # fmt: skip
        for _ in range(runs):
            podman.run("rmi", "--all", "--force")
            image = f"{line.address}/app:{TAG}"
            seconds.append(
                seconds_to_detection(podman, image, "--pull", "always", "--tls-verify=false")
            )
        return seconds, line.received // runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cold-runs", type=int, default=3)
    options = parser.parse_args()
    print(f"{describe('onnxruntime')}; {time.strftime('%Y-%m-%d')}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "image").mkdir()
        layout = build_sample_image(folder / "image")
        podman = Podman(folder / "podman")
        try:
            here = start_here(podman, layout, options.runs)
            cold, pulled = start_cold(podman, layout, folder / "registry", options.cold_runs)
        finally:
            podman.close()
    print("| seconds to the first correct detection | runs | median | worst |\n|---|---|---|---|")
    for what, seconds in (("image is here", here), ("cold, 100 Mbit/s", cold)):
        middle, worst = statistics.median(seconds), max(seconds)
        print(f"| {what} | {len(seconds)} | {middle:.1f} | {worst:.1f} |")
    print(f"\npulled: {pulled / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
