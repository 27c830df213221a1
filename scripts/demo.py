"""The demo: make a project from a sample, build it, serve it, send it a photo over HTTP.

`--once` stops the server afterwards and ends with 0, or with 1 when anything went wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "demo"
PROJECT = FOLDER / "ai-inspection"
PROGRAM = Path(sys.executable).with_name("enginecrate")
READY_WITHIN_SECONDS = 120


class DemoFailed(Exception):
    """A step of the demo failed; the message says which and why."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="end by itself")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    started = time.monotonic()
    try:
        make_project()
        step(2, "Build the engine and prove it")
        run("build", "--project", str(PROJECT))
        step(3, "Start the server")
        with server(free_port(options.port)) as url:
            wait_until_ready(url)
            step(4, "Send a photo over HTTP")
            photo = PROJECT / "golden" / "astronaut.png"
            show(url, photo)
            print(f"\nDone in {time.monotonic() - started:.0f} s.")
            if not options.once:
                keep_serving(url, photo)
    except DemoFailed as exc:
        print(f"\nThe demo failed: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0 if not options.once else 1
    return 0


def step(number: int, title: str) -> None:
    print(f"\n[{number}/4] {title}", flush=True)


def run(*arguments: str) -> None:
    print(f"$ enginecrate {' '.join(arguments)}", flush=True)
    if subprocess.run([PROGRAM, *arguments], cwd=ROOT).returncode != 0:
        raise DemoFailed(f"`enginecrate {arguments[0]}` ended with an error; it is shown above")


def make_project() -> None:
    step(1, "Make a project from the detection sample")
    shutil.rmtree(PROJECT, ignore_errors=True)
    FOLDER.mkdir(exist_ok=True)
    run("init", str(PROJECT), "--sample", "detection")


def free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise DemoFailed("no free port")


@contextlib.contextmanager
def server(port: int) -> Iterator[str]:
    log = FOLDER / "server.log"
    # The demo runs anywhere: an engine on the CPU counts, too.
    command = ["serve", "--project", str(PROJECT), "--http-port", str(port)]
    command += ["--minimum-engine", "cpu"]
    print(f"$ enginecrate {' '.join(command)}    (log: {log})", flush=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PROGRAM, *command],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield f"http://127.0.0.1:{port}"
            if process.poll() is not None:
                raise DemoFailed(f"the server ended by itself; see {log}")
        finally:
            process.terminate()
            process.wait(timeout=10)


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    reason = "no answer"
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.get(f"{url}/v2/health/ready")
            if answer.status_code == httpx.codes.OK:
                return
            reason = answer.text
        time.sleep(0.2)
    raise DemoFailed(f"the server was not ready within {READY_WITHIN_SECONDS} s: {reason}")


def show(url: str, photo: Path) -> None:
    answer = post(url, photo)
    result = answer["results"][0]
    engine, timing = answer["engine"], answer["timing_ms"]
    print(f"{photo.name}, {result['width']}x{result['height']} pixels:")
    for found in result["detections"]:
        box = ", ".join(f"{side:.0f}" for side in found["box"])
        print(f"  {found['label']:<12} {found['score']:.2f}   box [{box}]")
    print(f"  {engine['backend']} {engine['precision']} on {engine['device']}: "
          f"{timing['total']:.1f} ms")  # fmt: skip
    if not any(found["label"] == "person" for found in result["detections"]):
        raise DemoFailed("no person was found in a photo of a person")
    picture = FOLDER / "annotated.png"
    picture.write_bytes(httpx.post(f"{url}/v1/predict?annotate=1", content=photo.read_bytes())
                        .raise_for_status().content)  # fmt: skip
    print(f"\nAnnotated picture: {picture}")
    print(f"Dashboard:         {url}/")
    print(f"API reference:     {url}/docs")


def post(url: str, photo: Path) -> dict[str, Any]:
    try:
        answer = httpx.post(f"{url}/v1/predict", content=photo.read_bytes())
    except httpx.TransportError as exc:
        raise DemoFailed(f"the server did not answer: {exc}") from exc
    if answer.status_code != httpx.codes.OK:
        raise DemoFailed(f"the server answered {answer.status_code}: {answer.text}")
    return dict(answer.json())


def keep_serving(url: str, photo: Path) -> None:
    print(f"\nTry it:  curl --data-binary @{photo} {url}/v1/predict")
    print("The server keeps running. Press Ctrl-C to stop it.", flush=True)
    while True:
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
