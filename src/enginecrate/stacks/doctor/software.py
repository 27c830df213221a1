"""Libraries of CUDA and TensorRT that would be loaded, and containers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from enginecrate.stacks.doctor.findings import Finding
from enginecrate.stacks.machine.libraries import Library
from enginecrate.stacks.machine.machine import Machine

__all__ = ["examine_software"]


def examine_software(machine: Machine) -> Iterator[Finding]:
    """One finding for each kind of library that was found, and one for containers."""
    libraries = sorted(machine.libraries, key=lambda library: library.component)
    for component, copies in groupby(libraries, key=lambda library: library.component):
        yield from _component(component, list(copies))
    yield from _containers(machine)


def _component(component: str, copies: Sequence[Library]) -> Iterator[Finding]:
    """The copies of one component; within each name the first would be loaded."""
    check = component.lower().replace("cuda driver", "libcuda")
    winners, losers = _order(copies)
    words = ", ".join(_describe(library) for library in winners)
    others = [library for library in losers if _differs(library, winners)]
    if not others:
        yield Finding(check, "ok", f"{component}: {words}")
        return
    hidden = ", ".join(_describe(library) for library in others)
    if all(library.origin != "LD_LIBRARY_PATH" for library in (*winners, *others)):
        yield Finding(check, "ok", f"{component}: {words}; behind it: {hidden}")
        return
    yield Finding(
        check,
        "warn",
        f"{component}: {words} would be loaded, and {hidden} is there, too",
        "take the folder out of LD_LIBRARY_PATH, unless it is meant: a library's own parts may "
        "come from another version of it",
    )


def _order(copies: Sequence[Library]) -> tuple[list[Library], list[Library]]:
    first: dict[str, Library] = {}
    losers = []
    for library in copies:
        if library.soname in first:
            losers.append(library)
        else:
            first[library.soname] = library
    return list(first.values()), losers


def _differs(library: Library, winners: Sequence[Library]) -> bool:
    """True for another version than the winner's, as far as the names of both files tell."""
    winner = next(one for one in winners if one.soname == library.soname)
    both = zip(library.version.split("."), winner.version.split("."), strict=False)
    return any(mine != other for mine, other in both)


def _describe(library: Library) -> str:
    return f"{library.soname} {library.version} ({library.origin}: {library.path})"


def _containers(machine: Machine) -> Iterator[Finding]:
    facts = machine.containers
    if facts.inside:
        yield Finding("containers", "ok", "this is a container")
    elif not machine.nvidia.gpus or not facts.engines:
        engines = ", ".join(facts.engines)
        yield Finding("containers", "ok", f"container engines: {engines}" if engines else "none")
    elif facts.toolkit or facts.devices:
        files = ", ".join(map(str, facts.devices))
        words = [*facts.toolkit, *([f"CDI: {files}"] if files else [])]
        yield Finding("containers", "ok", f"containers can use the GPUs: {', '.join(words)}")
    else:
        yield Finding(
            "containers",
            "warn",
            f"{', '.join(facts.engines)} cannot give GPUs to containers",
            "install the NVIDIA Container Toolkit, then: nvidia-ctk cdi generate "
            "--output=/etc/cdi/nvidia.yaml",
        )
