"""Facts about this machine. Probing only: `stacks/doctor/` judges them."""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import os
import platform
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from enginecrate.settings import Settings
from enginecrate.stacks.machine.containers import ContainerFacts, probe_containers
from enginecrate.stacks.machine.devices import NvidiaFacts, probe_gpus, probe_nvidia
from enginecrate.stacks.machine.libraries import (
    SAME_MODULE,
    Library,
    installed_versions,
    probe_libraries,
)
from enginecrate.values import platform_name

__all__ = [
    "CacheFacts",
    "Machine",
    "NvidiaFacts",
    "RuntimeFacts",
    "probe_gpus",
    "probe_machine",
]

_PORT_SECONDS = 1.0
_ANSWER_BYTES = 4096

_CGROUP_MEMORY = (
    Path("/sys/fs/cgroup/memory.max"),  # version 2
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),  # version 1
)


@dataclass(frozen=True, slots=True)
class RuntimeFacts:
    """onnxruntime. `problem` is empty when it imports."""

    version: str = ""
    providers: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CacheFacts:
    """The cache folder. `problem` is empty when it can be written; sizes in bytes."""

    path: Path
    free_bytes: int = 0
    owned: bool = True
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts about a machine.

    cores: of the machine.
    usable_cores: that affinity and the container's CPU limit leave.
    memory_bytes: of the machine, or of the container when that is less; 0: unknown.
    packages: required packages and their installed version; `None`: not installed.
    port_problem: why the HTTP port cannot be listened on; empty when it can.
    serves: a server of ours answers on that port.
    has_plans: the app came with plans, as in an image.
    uid: of this process.
    clock: seconds since 1970.
    newest_file: the latest modification time among the program's own files, same clock.
    libraries: of CUDA and TensorRT that could be loaded, the winners first.
    engine_packages: installed packages that matter to engines, and their versions.
    mps: whether CUDA's Multi-Process Service runs.
    proxies: of the environment, by variable, without their passwords.
    proxy_problems: what is wrong with them.
    """

    python: tuple[int, int, int]
    system: str
    architecture: str
    cores: int
    usable_cores: int
    memory_bytes: int
    runtime: RuntimeFacts
    cache: CacheFacts
    host: str
    port: int
    port_problem: str
    clock: float
    newest_file: float
    nvidia: NvidiaFacts
    packages: dict[str, str | None] = field(default_factory=dict)
    libraries: tuple[Library, ...] = ()
    engine_packages: dict[str, str] = field(default_factory=dict)
    containers: ContainerFacts = field(default_factory=ContainerFacts)
    mps: bool = False
    serves: bool = False
    has_plans: bool = False
    uid: int = 0
    proxies: dict[str, str] = field(default_factory=dict)
    proxy_problems: tuple[str, ...] = ()

    @property
    def platform(self) -> str:
        """As the OCI image specification names it, for example `linux/amd64`."""
        return platform_name(self.system, self.architecture)


def probe_machine(settings: Settings, usable_cores: int) -> Machine:
    """Look at this machine. Problems are facts, too: nothing is raised for them.

    Args:
        settings: resolved.
        usable_cores: that engines count with (`engines.cores.available_cores`).
    """
    problem = _port_problem(settings.host, settings.http_port)
    proxies, proxy_problems = _proxies()
    return Machine(
        python=sys.version_info[:3],
        system=platform.system(),
        architecture=platform.machine(),
        cores=os.cpu_count() or usable_cores,
        usable_cores=usable_cores,
        memory_bytes=_memory(),
        runtime=_runtime(),
        cache=_cache(settings.cache_path),
        host=settings.host,
        port=settings.http_port,
        port_problem=problem,
        serves=bool(problem) and _serves(settings.local_hosts, settings.http_port),
        has_plans=bool(settings.plans_dir),
        uid=os.getuid(),
        clock=time.time(),
        newest_file=Path(__file__).stat().st_mtime,
        nvidia=probe_nvidia(),
        packages=_packages(),
        libraries=probe_libraries(),
        engine_packages=installed_versions(),
        containers=probe_containers(),
        mps=_mps(),
        proxies=proxies,
        proxy_problems=proxy_problems,
    )


def _mps() -> bool:
    """Its control daemon listens on a pipe (CUDA Multi-Process Service, "Environment")."""
    folder = os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")  # noqa: S108 -- CUDA's own
    return Path(folder, "control").exists()


def _proxies() -> tuple[dict[str, str], tuple[str, ...]]:
    """The proxies that the environment names, and what is wrong with them."""
    from enginecrate.http_client.proxies import Proxies, Proxy

    proxies = Proxies()
    usable = {name: one.address for name, one in proxies.all() if isinstance(one, Proxy)}
    problems = [str(one) for _, one in proxies.all() if not isinstance(one, Proxy)]
    problems += [
        f"NO_PROXY: {entry!r} is no host, address or network, and is left aside"
        for entry in proxies.unusable
    ]
    return usable, tuple(problems)


def _memory() -> int:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0
    for file in _CGROUP_MEMORY:
        # "max", or a file that is not there, means: no limit.
        with contextlib.suppress(OSError, ValueError):
            return min(total, int(file.read_text(encoding="ascii")))
    return total


def _runtime() -> RuntimeFacts:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import, or it sends data
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except Exception as exc:  # a broken shared library raises whatever it likes
        return RuntimeFacts(problem=f"{type(exc).__name__}: {exc}")
    return RuntimeFacts(onnxruntime.__version__, tuple(onnxruntime.get_available_providers()))


def _cache(path: Path) -> CacheFacts:
    # The folder need not exist yet: then its nearest parent must let us make it.
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
        free = shutil.disk_usage(existing).free
    except OSError as exc:
        return CacheFacts(path, problem=exc.strerror or str(exc))
    owned = existing != path or path.stat().st_uid == os.getuid()
    return CacheFacts(path, free, owned)


def _port_problem(host: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            # As the server does: a port in TIME_WAIT counts as free.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(1)
    except OSError as exc:
        if host == "::" and exc.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            return _port_problem("0.0.0.0", port)  # noqa: S104 - as the server does without IPv6
        if exc.errno == errno.EADDRINUSE:
            return "another program listens on it"
        return exc.strerror or str(exc)
    return ""


def _serves(hosts: Sequence[str], port: int) -> bool:
    """True when a server of ours answers at one of them."""
    return any(_answers(host, port) for host in hosts)


def _answers(host: str, port: int) -> bool:
    """True when a server of ours answers: it names itself on `/v2`."""
    try:
        with socket.create_connection((host, port), _PORT_SECONDS) as connection:
            connection.sendall(b"GET /v2 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            answer = b""
            while len(answer) < _ANSWER_BYTES and (piece := connection.recv(_ANSWER_BYTES)):
                answer += piece
    except OSError:
        return False
    return b'"enginecrate"' in answer


def _packages() -> dict[str, str | None]:
    """The required packages by their names in our own metadata; extras are left out."""
    try:
        requirements = importlib.metadata.requires("enginecrate") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    names = [
        requirement.partition(";")[0]
        for requirement in requirements
        if "extra ==" not in requirement
    ]
    return {name: _version(name) for name in map(_bare, names)}


def _version(name: str) -> str | None:
    """The version of a package, or of one with the same module; `None`: neither is installed."""
    for candidate in (name, SAME_MODULE.get(name, name)):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(candidate)
    return None


def _bare(requirement: str) -> str:
    """`"numpy>=2.0"` gives `"numpy"` (PyPA dependency specifiers, section "Names")."""
    end = next((i for i, c in enumerate(requirement) if not (c.isalnum() or c in "-_.")), None)
    return requirement[:end]
