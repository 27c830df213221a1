"""How many engine threads does a container with a fractional CPU quota need?

    python benchmarks/cpu_quota.py IMAGE PHOTO

Runs the image with podman for each quota and number of threads, and sends one photo after
another. The server rounds a quota up. No prediction was written: reports from the field say that
one thread too many makes a server 45 times slower, and others round down.
"""

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

PORT = 18081
NAME = "enginecrate-cpu-quota"
CASES = [("1.5", 1), ("1.5", 2), ("0.5", 1), ("0.5", 2)]


def podman(*words: str) -> str:
    """The output of a command of podman."""
    return subprocess.run(["podman", *words], check=True, capture_output=True, text=True).stdout


def wait_until_ready() -> None:
    """Ask until the server says that it is ready."""
    for _ in range(240):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/v2/health/ready"):
                return
        except OSError:
            time.sleep(0.25)
    raise SystemExit("the server is not ready after a minute")


def throttled() -> str:
    """Periods of the container in which it was throttled, as its control group counts them."""
    pid = podman("inspect", "-f", "{{.State.Pid}}", NAME).strip()
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    groups = {line.split(":")[1]: line.split(":")[2] for line in lines}
    folder = "/sys/fs/cgroup" + ("/cpu" + groups["cpu"] if "cpu" in groups else groups[""])
    numbers = dict(line.split() for line in Path(folder, "cpu.stat").read_text().splitlines())
    return numbers["nr_throttled"]


def measure(image: str, photo: str, cpus: str, threads: int) -> str:
    """A line of the table."""
    flags = ["--host", "127.0.0.1", "--http-port", str(PORT), "--decode-threads", "1",
             "--engine-threads", str(threads)]  # fmt: skip
    podman("run", "-d", "--name", NAME, "--cpus", cpus, "--network", "host", image, *flags)
    try:
        wait_until_ready()
        command = ["enginecrate", "bench", f"http://127.0.0.1:{PORT}", "--connections", "1",
                   "--duration", "6", "--photo", photo, "--json"]  # fmt: skip
        result = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        latency = result["latency_ms"]
        return (
            f"| {cpus} | {threads} | {result['throughput']:.1f} | {latency['p50']:.0f} ms "
            f"| {latency['p99']:.0f} ms | {throttled()} |"
        )
    finally:
        podman("rm", "-f", "-t", "3", NAME)


if __name__ == "__main__":
    print("| CPUs | threads | photos/s | p50 | p99 | throttled |\n|---|---|---|---|---|---|")
    for cpus, threads in CASES:
        print(measure(sys.argv[1], sys.argv[2], cpus, threads), flush=True)
