"""An image for GPUs in a container: how fast it starts, and what its GPU and its CPU engine answer.

    python benchmarks/image_on_gpu.py localhost/app:v1.0.0-ort-cuda130 [PHOTO.jpg]

The image lies in the storage of podman (with CDI) or docker (with NVIDIA's Container Toolkit), and
is the sample detector's. Both engines run from the same image with the same limits; the load comes
from `--bench` in the container, on the same machine.

Prediction for one H200 and 16 cores, before the first run: ready after 3 s; with 32 connections and
a JPEG of 197 kB the GPU engine answers 450 photos/s, since one process decodes, draws up boxes and
speaks HTTP at about 2 ms of Python a request, and the CPU engine 120 photos/s.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from enginecrate.release.boot.container import ContainerRuntime, find_runtime
from machine import describe

NAME = "enginecrate-benchmark"
PORT = 8765
STARTS = 3
CONNECTIONS = (1, 8, 32)
PHOTO = Path(__file__).parents[1] / "samples" / "detection" / "photos" / "china.jpg"
ENGINES = {"gpu": (), "cpu": ("--env", "ENGINECRATE_MINIMUM_ENGINE=cpu")}


@contextmanager
def started(runtime: ContainerRuntime, image: str, engine: str, photo: Path) -> Iterator[float]:
    """A container of the image; gives the seconds from the command to ready."""
    gpus = runtime.gpu_flags if engine == "gpu" else ()
    begin = time.monotonic()
    runtime.run(
        "run", "--detach", "--name", NAME, "--network", "host", "--read-only", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges", "--volume", f"{photo.parent}:/photos:ro", *gpus,
        *ENGINES[engine], image, "--http-port", str(PORT),
    )  # fmt: skip
    try:
        while not is_ready(runtime):
            time.sleep(0.02)
        yield time.monotonic() - begin
    finally:
        runtime.run("rm", "--force", NAME)


def is_ready(runtime: ContainerRuntime) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/v2/health/ready", timeout=5):
            return True
    except urllib.error.HTTPError as exc:
        if json.load(exc)["state"] in ("failed", "degraded"):
            raise SystemExit(runtime.run("logs", NAME)) from exc
    except OSError:
        pass
    return False


def load(runtime: ContainerRuntime, connections: int, photo: Path) -> dict:
    words = (
        "exec", NAME, "/opt/enginecrate/bin/enginecrate", "--bench", f"http://127.0.0.1:{PORT}",
        "--photo", f"/photos/{photo.name}", "--connections", str(connections), "--duration", "5",
        "--json",
    )  # fmt: skip
    found = json.loads(runtime.run(*words))
    if found["errors"]:
        raise SystemExit(f"errors: {found['errors']}")
    return found


def main() -> None:
    image, photo = sys.argv[1], Path(*sys.argv[2:3]).resolve() if sys.argv[2:] else PHOTO
    runtime = find_runtime()
    if runtime is None:
        raise SystemExit("neither podman nor docker answers")
    print(f"{describe()}; {runtime.name}; {photo.name}, {photo.stat().st_size // 1000} kB\n")
    print("| engine | ready after s | connections | photos/s | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|")
    for engine in ENGINES:
        seconds = []
        for number in range(STARTS):
            with started(runtime, image, engine, photo) as took:
                seconds.append(took)
                if number < STARTS - 1:
                    continue
                shown = " ".join(f"{one:.1f}" for one in seconds)
                for connections in CONNECTIONS:
                    found = load(runtime, connections, photo)
                    latency = found["latency_ms"]
                    print(
                        f"| {engine} | {shown} | {connections} | {found['throughput']:.0f} | "
                        f"{latency['p50']:.1f} | {latency['p99']:.1f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
