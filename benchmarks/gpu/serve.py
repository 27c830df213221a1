"""The whole server on a GPU: v2 tensors to a ResNet-50 in FP16, and photos to the sample detector.

    python3 benchmarks/gpu/serve.py --seconds 20 --frontends 0,8 --out serve.json
    python3 benchmarks/gpu/serve.py --device cpu --seconds 1        # a rehearsal without a GPU

Rows are named; `--rows resnet-128,detector-32` measures these. With `--out FILE` a row that stands
there already is not measured again. The server and the load run on the same machine, and answers
are checked while measuring: the median of all rounds and the spread (least and most) are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests"), str(ROOT / "tests" / "gpu")]

from machine import describe  # noqa: E402

PROGRAM = [sys.executable, "-c", "from enginecrate.cli.main import main; main()"]
CONNECTIONS = (1, 8, 32, 128)
ROWS = [f"{kind}-{count}" for kind in ("resnet", "detector") for count in CONNECTIONS]
READY_SECONDS = 240

MANIFEST = """\
[app]
name = "resnet"
version = "1.0.0"
[model]
path = "model.onnx"
profiles = [{ image = [[1, 3, 224, 224], [32, 3, 224, 224], [128, 3, 224, 224]] }]
[pipeline]
task = "tensors"
[precision]
mode = "fp16"
[targets]
stacks = ["ort-cuda130", "ort-cpu"]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--frontends", default="0,8", help="0: one process; several: each of them")
    parser.add_argument("--serve", nargs="*", default=[], help="more options of enginecrate serve")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    print(describe("numpy", "onnxruntime", "uvloop"), flush=True)
    results = Results(options.out)
    with tempfile.TemporaryDirectory() as folder:
        projects = make_projects(Path(folder), options.rows)
        for number in range(options.rounds):
            for frontends in options.frontends.split(","):
                measure(options, projects, Path(folder), results, frontends, number)
    results.show()


class Results:
    """Requests a second and percentiles by row and mode, kept in a file."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.values: dict[str, list[dict[str, float]]] = {}
        if file is not None and file.exists():
            self.values = json.loads(file.read_text())

    def has(self, key: str, number: int) -> bool:
        return len(self.values.get(key, ())) > number

    def add(self, key: str, value: dict[str, float]) -> None:
        self.values.setdefault(key, []).append(value)
        print(f"{key:28} " + "  ".join(f"{name} {x:g}" for name, x in value.items()), flush=True)
        if self.file is not None:
            self.file.write_text(json.dumps(self.values, indent=1))

    def show(self) -> None:
        print(
            f"\n{'row':28} {'req/s':>9} {'least':>9} {'most':>9} {'p50 ms':>8} {'p99 ms':>8} wrong"
        )
        for key, rounds in self.values.items():
            rates = [each["rate"] for each in rounds]
            middle = [statistics.median(each[name] for each in rounds) for name in ("p50", "p99")]
            wrong = sum(each["failed"] for each in rounds)
            print(f"{key:28} {statistics.median(rates):9.1f} {min(rates):9.1f} {max(rates):9.1f} "
                  f"{middle[0]:9.2f} {middle[1]:9.2f} {wrong:9g}")  # fmt: skip


def make_projects(folder: Path, rows: str) -> dict[str, Path]:
    projects = {}
    if "detector" in rows:
        projects["detector"] = shutil.copytree(ROOT / "samples" / "detection", folder / "detector")
        manifest = projects["detector"] / "enginecrate.toml"
        text = manifest.read_text().replace('mode = "fp32"', 'mode = "fp16"')
        manifest.write_text(text.replace('["ort-cpu"]', '["ort-cuda130", "ort-cpu"]'))
    if "resnet" in rows:
        from resnet50 import resnet50

        project = folder / "resnet"
        project.mkdir()
        (project / "model.onnx").write_bytes(resnet50().SerializeToString())
        (project / "enginecrate.toml").write_text(MANIFEST)
        projects["resnet"] = project
    return projects


def measure(
    options: argparse.Namespace,
    projects: dict[str, Path],
    folder: Path,
    results: Results,
    frontends: str,
    number: int,
) -> None:
    for kind, project in projects.items():
        counts = [
            count
            for count in CONNECTIONS
            if f"{kind}-{count}" in options.rows.split(",")
            and not results.has(f"{kind}-{count} frontends {frontends}", number)
        ]
        if not counts:
            continue
        with server(options, project, folder, frontends) as url:
            for count in counts:
                value = load(url, kind, project, count, options.seconds)
                results.add(f"{kind}-{count} frontends {frontends}", value)


@contextlib.contextmanager
def server(
    options: argparse.Namespace, project: Path, folder: Path, frontends: str
) -> Iterator[str]:
    stack = "ort-cuda130" if options.device == "gpu" else "ort-cpu"
    command = [
        *PROGRAM, "serve", "--project", str(project), "--http-port", "0", "--log-format", "json",
        "--cache-dir", str(folder / "cache"), "--stack", stack, "--frontends", frontends,
        *(f"--{each}" for each in options.serve),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    start, url, lines = time.monotonic(), "", []
    ended = threading.Event()

    def read() -> None:
        nonlocal url
        for line in process.stdout or ():
            if '"enginecrate.server.request"' in line:
                continue
            lines.append(line)
            found = re.search(r'"url":"([^"]+)"', line)
            url = found[1] if found else url
            if '"level":"error"' in line or '"level":"warning"' in line:
                print("  " + line.strip()[:400], flush=True)
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    try:
        wait_until_ready(lambda: url, ended, lines)
        print(f"# {project.name}, frontends {frontends}: ready after "
              f"{time.monotonic() - start:.1f} s, {memory(process.pid)}", flush=True)  # fmt: skip
        yield url
        print(f"# {memory(process.pid)}", flush=True)
    finally:
        process.terminate()
        process.wait()


def wait_until_ready(url, ended: threading.Event, lines: Sequence[str]) -> None:
    import urllib.error
    import urllib.request

    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until and not ended.is_set():
        if url():
            try:
                with urllib.request.urlopen(f"{url()}/v2/health/ready", timeout=5) as answer:
                    told = json.loads(answer.read())
                # Until the ladder rests, builds and loads share the GPU with what is measured.
                if not told["ladder"]["building"] and rested(url()):
                    return
            except (urllib.error.URLError, OSError):
                pass
        time.sleep(0.1)
    sys.exit("the server was never ready:\n" + "".join(lines[-20:]))


def rested(url: str) -> bool:
    import urllib.request

    with urllib.request.urlopen(f"{url}/v1/status", timeout=5) as answer:
        steps = json.loads(answer.read())["ladder"]["steps"]
    return not {step["state"] for step in steps} & {"waiting", "building", "proving"}


def memory(pid: int) -> str:
    """Proportional memory of a process and its children."""
    pids = [pid, *children(pid)]
    total = 0
    for each in pids:
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{each}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)[1])
    return f"{len(pids)} processes, {total // 1024} MiB"


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def load(url: str, kind: str, project: Path, count: int, seconds: float) -> dict[str, float]:
    command = [*PROGRAM, "bench", url, "--connections", str(count), "--duration", str(seconds),
               "--warmup", str(min(3.0, seconds)), "--json"]  # fmt: skip
    if kind == "resnet":
        command += ["--protocol", "v2-binary", "--shape", "image:1,3,224,224"]
    else:
        command += ["--photo", str(next((project / "photos").glob("*.jpg")))]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        print(done.stdout[-2000:], done.stderr[-2000:])
        return {"rate": 0.0, "p50": 0.0, "p99": 0.0, "failed": 1.0}
    run = found["runs"][0] if "runs" in found else found
    return figures(run)


def figures(run: dict) -> dict[str, float]:
    latency = run["latency_ms"] or {"p50": 0.0, "p99": 0.0}
    for note in run.get("notes", ()):
        print(f"  {note}", flush=True)
    if run.get("server"):
        print(f"  server: {json.dumps(run['server'])[:300]}", flush=True)
    return {
        "rate": round(run["throughput"], 1),
        "p50": latency["p50"],
        "p99": latency["p99"],
        "failed": float(sum(run["errors"].values()) + run["wrong"]),
    }


if __name__ == "__main__":
    main()
