"""Real container tools for tests: podman with a storage of its own, and a real registry."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=2000:2000"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
[network]
network_backend = "netavark"
"""


@dataclass
class Podman:
    """podman, skopeo and buildah that share a storage in `folder`, and nothing with the machine."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "containers.conf").write_text(CONTAINERS_CONF)
        (self.folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\nrunroot = "{self.folder}/run"\n'
            f'graphroot = "{self.folder}/root"\n'
        )
        (self.folder / "policy.json").write_text(
            '{"default": [{"type": "insecureAcceptAnything"}]}'
        )
        self.environment = os.environ | {
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "BUILDAH_ISOLATION": "chroot",
        }

    def run(self, *arguments: str | Path, tool: str = "podman", check: bool = True,
            timeout: float = 120) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a command to its end. With `check`, one that fails raises with what it printed."""
        done = subprocess.run(
            [tool, *map(str, arguments)],
            env=self.environment, capture_output=True, text=True, timeout=timeout,
            cwd=self.folder,  # conmon leaves a file `oom` where it was started
        )  # fmt: skip
        if check and done.returncode:
            words = " ".join(map(str, arguments))
            raise AssertionError(f"{tool} {words}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def inspect(self, name: str) -> dict[str, Any]:
        return json.loads(self.run("inspect", name).stdout)[0]

    def close(self) -> None:
        """End and remove every container, and the storage."""
        self.run("rm", "--all", "--force", "--time", "0", check=False)
        self.run("rmi", "--all", "--force", check=False)
        subprocess.run(["umount", self.folder / "root" / "overlay"], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class Registry:
    """A docker-registry process. `storage`: where it keeps blobs (docker/registry/v2/...)."""

    address: str
    storage: Path
    scheme: str = "http"
    user: str = ""
    password: str = ""

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running_registry(
    folder: Path, settings: Sequence[str] = (), *, scheme: str = "http", **facts: str
) -> Iterator[Registry]:
    """A registry on a free port of 127.0.0.1.

    Args:
        folder: for its configuration and its storage.
        settings: more sections of its YAML file, for example of `auth`.
        scheme: `https` when the settings name a certificate under `http: tls:`.
        facts: `user` and `password`, for the tests that need them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    address = f"127.0.0.1:{free_port()}"
    storage = folder / "storage"
    tls = [line for line in settings if line.startswith("  ")]
    others = [line for line in settings if not line.startswith("  ")]
    (folder / "config.yml").write_text("\n".join([
        "version: 0.1", "log: {level: error, accesslog: {disabled: true}}",
        f"storage: {{filesystem: {{rootdirectory: {storage}}}, delete: {{enabled: true}}}}",
        "http:", f"  addr: {address}", *tls, *others, "",
    ]))  # fmt: skip
    with (folder / "registry.log").open("w") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", folder / "config.yml"], stdout=log, stderr=log
        )
    try:
        _wait_for(f"{scheme}://{address}/v2/", process, folder / "registry.log")
        yield Registry(address, storage, scheme, **facts)
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    transport = httpx.HTTPTransport(retries=10, verify=False)
    with httpx.Client(transport=transport) as client:
        for _ in range(20):
            if process.poll() is not None:
                raise AssertionError(f"the registry ended: {log.read_text()}")
            try:
                client.get(url)
            except httpx.TransportError:
                continue
            return
    raise AssertionError(f"the registry does not answer: {log.read_text()}")
