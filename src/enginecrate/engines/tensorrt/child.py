"""The parent's side of a build in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

import msgspec

from enginecrate.engines.tensorrt.protocol import (
    Answer,
    Refusal,
    Request,
    Step,
    read_frame,
    write_frame,
)
from enginecrate.errors import PlanBuildFailed
from enginecrate.values import Progress

__all__ = ["ChildResult", "build_in_child", "visible_name"]

_WORKER = "enginecrate.engines.tensorrt.worker"
_PASSED = ("CUDA_DEVICE_ORDER", "LD_LIBRARY_PATH")
_SAID = 2000
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class ChildResult:
    """The answer of the process: a plan with its timing cache, or a refusal."""

    answer: Answer | Refusal
    plan: bytes = b""
    timing_cache: bytes = b""


def build_in_child(
    request: Request,
    model: bytes,
    timing_cache: bytes,
    gpu: str,
    progress: Progress,
) -> ChildResult:
    """Build a plan in a process of its own, which does not outlive this call.

    Args:
        request: what to build.
        model: a serialized ONNX model.
        timing_cache: of an earlier build; may be empty.
        gpu: what `CUDA_VISIBLE_DEVICES` shall say; empty: no GPU at all.
        progress: is told how far the build is; what it raises ends the build.

    Raises:
        PlanBuildFailed: the process died; the message says how, and its last words.
    """
    with tempfile.TemporaryFile() as said, _asked(request, model, timing_cache) as question:
        process = subprocess.Popen(  # noqa: S603 -- our own interpreter and module
            [sys.executable, "-B", "-P", "-S", "-m", _WORKER],
            stdin=question,
            stdout=subprocess.PIPE,
            stderr=said,
            env=_environment(gpu),
            cwd="/",
            start_new_session=True,  # Ctrl-C reaches the parent, which ends the child
        )
        try:
            return _listen(cast(BinaryIO, process.stdout), progress)
        except EOFError as exc:
            raise PlanBuildFailed(_last_words(request, _ended(process), said)) from exc
        finally:
            _end(process)


def visible_name(number: int) -> str:
    """The value of `CUDA_VISIBLE_DEVICES` that shows a child one of this process's GPUs alone."""
    names = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return names[number] if number < len(names) and names[number] else str(number)


def _asked(request: Request, model: bytes, timing_cache: bytes) -> BinaryIO:
    """The question as a file in memory: from a pipe, the pieces that arrive differ in size each
    time, and so would the child's memory.
    """
    file = os.fdopen(os.memfd_create("request"), "w+b")
    write_frame(file, b"Q", msgspec.json.encode(request, order="sorted"))
    write_frame(file, b"M", model)
    write_frame(file, b"T", timing_cache)
    file.seek(0)
    return file


def _listen(answers: BinaryIO, progress: Progress) -> ChildResult:
    while True:
        kind, payload = read_frame(answers)
        if kind == b"S":
            step = msgspec.json.decode(payload, type=Step)
            progress(step.name, step.done, step.total)
        elif kind == b"R":
            return ChildResult(msgspec.json.decode(payload, type=Refusal))
        else:
            answer = msgspec.json.decode(payload, type=Answer)
            return ChildResult(answer, read_frame(answers)[1], read_frame(answers)[1])


def _environment(gpu: str) -> Mapping[str, str]:
    """As little as possible, and the same for every caller: its size shifts the addresses."""
    kept = {name: os.environ[name] for name in _PASSED if name in os.environ}
    return kept | {
        "CUDA_VISIBLE_DEVICES": gpu,
        "LC_ALL": "C",
        # Threads of the library take turns in the arenas; with fewer of them they race for one.
        "MALLOC_ARENA_MAX": "8",
        "PYTHONHASHSEED": "0",
        # Compiled afresh, modules take the same memory whether or not compiled ones lie there.
        "PYTHONPYCACHEPREFIX": "/dev/null",
        "PYTHONPATH": os.pathsep.join(_package_folders()),
    }


def _package_folders() -> list[str]:
    """Folders of the few packages that the worker imports."""
    names = ("enginecrate", "msgspec", "tensorrt", "tensorrt_rtx_bindings")
    folders: dict[str, None] = {}
    for name in names:
        spec = importlib.util.find_spec(name)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            folders[str(Path(place).parent)] = None
    return list(folders)


def _last_words(request: Request, status: int, said: IO[bytes]) -> str:
    said.seek(0)
    words = " ".join(said.read().decode(errors="replace").split())[-_SAID:]
    ended = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    cure = "free some memory and build again" if status == -9 else "report it with the model"
    return (
        f"the process that builds with {request.backend} {ended}; {cure}; it said: {words or '-'}"
    )


def _ended(process: subprocess.Popen[bytes]) -> int:
    """The status of a process that has closed its pipe: it ends by itself, or is ended."""
    try:
        return process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
