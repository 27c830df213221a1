"""A start of an image in a container, shut in as tightly as it promises to run, until it is ready.

Read-only root, no capabilities, no network, a memory limit. It is loaded by digest, so what starts
is what was verified. Ready means that its golden samples gave the expected results: the server
proves that before it says so.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from enginecrate.errors import SystemRefused, VerificationFailed, VerificationIncomplete
from enginecrate.image.transports.base import ImageSource
from enginecrate.image.transports.oci_archive_export import save
from enginecrate.release.boot.requirements import Startable
from enginecrate.release.content.image import OpenedPlatform

__all__ = ["BootOutcome", "ContainerRuntime", "boot", "find_runtime"]

_PROGRAMS = ("podman", "docker")
_SECRET = "ENGINECRATE_KEY_PASSPHRASE"  # noqa: S105 - the variable's name
"""A signer may have it in the environment; what is started has no use for it."""
_GPUS = {"podman": ("--device", "nvidia.com/gpu=all"), "docker": ("--gpus", "all")}
_COMMAND_SECONDS = 300
_OWN_TROUBLE = 125
"""Exit code of podman and docker for their own failures, where the container's are not."""
_NO_PROGRAM = (126, 127)
"""Exit codes for a program that cannot be run, and for one that is not there."""
_TAIL = 12
_READY = "ready"
_UNPROVEN = "ready, but unproven"
_NEVER = "never ready"


@dataclass(frozen=True, slots=True)
class BootOutcome:
    """The outcome of a start.

    seconds: from the command that starts the container to ready. golden_samples: how many were
    proven; 0: the app has none. runtime: `podman`. memory_bytes: the limit.
    """

    seconds: float
    golden_samples: int
    runtime: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class ContainerRuntime:
    """Podman or docker. `environment`: of its commands."""

    program: str
    environment: Mapping[str, str]

    @property
    def name(self) -> str:
        """`podman`."""
        return Path(self.program).name

    @property
    def gpu_flags(self) -> Sequence[str]:
        """Flags of `run` that give the container all GPUs."""
        return _GPUS[self.name]

    def run(self, *arguments: str, seconds: float = _COMMAND_SECONDS) -> str:
        """The output of a command. Raises `VerificationIncomplete`: it does not work here."""
        done = self.call(*arguments, seconds=seconds)
        if done.returncode:
            raise VerificationIncomplete(self.failure(arguments[0], done))
        return done.stdout.strip()

    def call(
        self, *arguments: str, seconds: float = _COMMAND_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """The end of a command. Raises `VerificationIncomplete`: it cannot run, or takes long."""
        try:
            return subprocess.run(  # noqa: S603 - a list of fixed arguments
                [self.program, *arguments],
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise VerificationIncomplete(
                f"{self.name} {arguments[0]} does not work: {exc}; `{self.name} info` may say more"
            ) from exc

    def failure(self, command: str, done: subprocess.CompletedProcess[str]) -> str:
        """A sentence about a command that failed, with its last words."""
        words = " ".join(done.stderr.strip().splitlines()[-3:])
        return f"{self.name} {command} failed: {words}"


def find_runtime(environment: Mapping[str, str] | None = None) -> ContainerRuntime | None:
    """Podman or docker, whichever is there and answers; `None` when neither does."""
    environment = dict(os.environ if environment is None else environment)
    environment.pop(_SECRET, None)
    for name in _PROGRAMS:
        program = shutil.which(name, path=environment.get("PATH"))
        if program is None:
            continue
        runtime = ContainerRuntime(program, environment)
        try:
            runtime.run("info", seconds=30)
        except VerificationIncomplete:
            continue
        return runtime
    return None


def boot(
    transport: ImageSource,
    startable: Startable,
    runtime: ContainerRuntime,
    *,
    memory_bytes: int = 2 << 30,
    seconds: float = 180,
) -> BootOutcome:
    """Start an image, wait until it is ready, and remove everything again.

    Args:
        transport: where the image is.
        startable: what of the image starts here, and whether with GPUs.
        runtime: what starts it.
        memory_bytes: most memory that the container may use.
        seconds: longest wait for ready.

    Raises:
        VerificationFailed: it does not start, or does not become ready in time.
        VerificationIncomplete: the runtime, the disk or a device is to blame.
        ImageError: it cannot be read.
    """
    platform = startable.platform
    name = f"enginecrate-verify-{secrets.token_hex(6)}"
    image = f"localhost/{name}:{platform.manifest.config.digest[7:19]}"
    try:
        _load(transport, platform, runtime, image)
        started = time.monotonic()
        gpus = runtime.gpu_flags if startable.gpus else ()
        _start(runtime, platform, *_limits(name, memory_bytes), *gpus, image)
        samples = _wait(runtime, name, seconds)
        outcome = BootOutcome(time.monotonic() - started, samples, runtime.name, memory_bytes)
        _healthcheck(runtime, name, platform)
        return outcome
    finally:
        now = ("--time", "0") if runtime.name == "podman" else ()
        for words in (("rm", "--force", "--volumes", *now, name), ("rmi", "--force", image)):
            _quietly(runtime, words)


def _limits(name: str, memory_bytes: int) -> Sequence[str]:
    return (
        "--name", name, "--pull", "never", "--read-only", "--tmpfs", "/tmp",  # noqa: S108
        "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none",
        "--memory", str(memory_bytes), "--pids-limit", "1024",
    )  # fmt: skip


def _start(runtime: ContainerRuntime, platform: OpenedPlatform, *words: str) -> None:
    """Start a container. The image is to blame when its own program cannot be run.

    Podman gives the same exit codes for that and for a device that it does not find.
    """
    done = runtime.call("run", "--detach", *words)
    if not done.returncode:
        return
    config = platform.config.config
    program = next(iter((*config.entrypoint, *config.cmd)), "")
    is_image = done.returncode in _NO_PROGRAM and program and program in done.stderr
    kind = VerificationFailed if is_image else VerificationIncomplete
    raise kind(runtime.failure("run", done))


def _load(
    transport: ImageSource, platform: OpenedPlatform, runtime: ContainerRuntime, image: str
) -> None:
    """Give the image to the runtime, and see that it has this one and no other."""
    try:
        with tempfile.TemporaryDirectory(prefix="enginecrate-verify-") as folder:
            archive = Path(folder) / "image.tar"
            repository, _, tag = image.rpartition(":")
            digest = platform.descriptor.digest
            save(transport, [digest], archive, tags=[tag], repository=repository, referrers=False)
            runtime.run("load", "--input", str(archive))
    except (OSError, SystemRefused) as exc:
        cause = exc.__cause__ if isinstance(exc.__cause__, OSError) else exc
        reason = getattr(cause, "strerror", None) or str(exc)
        raise VerificationIncomplete(
            f"the image cannot be written for {runtime.name} into {tempfile.gettempdir()}: "
            f"{reason}; make room there, or set TMPDIR to another folder"
        ) from exc
    loaded = runtime.run("image", "inspect", "--format", "{{.Id}}", image)
    loaded = loaded if loaded.startswith("sha256:") else f"sha256:{loaded}"
    if loaded not in (platform.manifest.config.digest, platform.descriptor.digest):
        raise VerificationFailed(
            f"{runtime.name} has loaded {loaded}, and the image is "
            f"{platform.manifest.config.digest}; nothing was started"
        )


def _wait(runtime: ContainerRuntime, name: str, seconds: float) -> int:
    """Follow the container's log until it says what became of it: proven samples."""
    process = _follow(runtime, name)
    late = threading.Event()

    def give_up() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, give_up)
    timer.start()
    tail: list[str] = []
    try:
        for line in process.stdout or ():
            tail = [*tail[-_TAIL:], line.strip()]
            samples = _outcome(line)
            if samples is not None:
                return samples
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
    why = f"it was not ready after {seconds:.0f} s" if late.is_set() else "it has ended"
    raise VerificationFailed(
        "\n".join([f"the container did not become ready: {why}; its log:", *tail])
    )


def _follow(runtime: ContainerRuntime, name: str) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(  # noqa: S603 - a list of fixed arguments
            [runtime.program, "logs", "--follow", name],
            env=dict(runtime.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as exc:
        raise VerificationIncomplete(f"{runtime.name} logs does not work: {exc}") from exc


def _outcome(line: str) -> int | None:
    """Proven samples in a line of the log; 0: unproven; `None`: it is about something else."""
    try:
        entry = json.loads(line)
        message, samples = str(entry["message"]), int(entry.get("golden_samples", 0))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if message.startswith(_NEVER):
        raise VerificationFailed(f"the server in the container is {message}")
    if message.startswith(_UNPROVEN):
        return 0
    return samples if message == _READY else None


def _healthcheck(runtime: ContainerRuntime, name: str, platform: OpenedPlatform) -> None:
    """The image's own health check, run once."""
    test = platform.config.config.healthcheck.get("Test", [])
    if not isinstance(test, list) or test[:1] != ["CMD"]:
        return
    done = runtime.call("exec", name, *map(str, test[1:]), seconds=30)
    if done.returncode:
        is_runtime = done.returncode == _OWN_TROUBLE
        kind = VerificationIncomplete if is_runtime else VerificationFailed
        raise kind(runtime.failure("exec", done))


def _quietly(runtime: ContainerRuntime, words: Sequence[str]) -> None:
    try:
        runtime.run(*words)
    except VerificationIncomplete:
        return
