"""The machine without its GPUs: Python, cores, memory, packages, cache, port, clock, proxies."""

from __future__ import annotations

import time
from collections.abc import Iterator

from enginecrate.stacks.doctor.findings import GIB, Finding
from enginecrate.stacks.machine.machine import Machine

__all__ = ["examine_system"]

_OLDEST_PYTHON = (3, 11)
_LEAST_MEMORY = 1 * GIB
_LEAST_DISK = 1 * GIB
"""A plan is about as large as its model; a few versions of a few models fit."""

_CLOCK_SLACK = 24 * 3600
"""Seconds that a file may be from the future before the clock is doubted."""


def examine_system(machine: Machine) -> Iterator[Finding]:
    """Every finding, in the order in which a person would fix them."""
    checks = (_python, _platform, _hardware, _packages, _runtime, _cache, _port, _clock, _proxies)
    for check in checks:
        yield from check(machine)


def _python(machine: Machine) -> Iterator[Finding]:
    version = ".".join(map(str, machine.python))
    if machine.python >= _OLDEST_PYTHON:
        yield Finding("python", "ok", f"Python {version}")
    else:
        oldest = ".".join(map(str, _OLDEST_PYTHON))
        yield Finding(
            "python",
            "fail",
            f"Python {version} is too old",
            f"install Python {oldest} or later, and enginecrate into it",
        )


def _platform(machine: Machine) -> Iterator[Finding]:
    name = f"{machine.system} on {machine.architecture}"
    if machine.system == "Linux":
        yield Finding("platform", "ok", name)
    else:
        yield Finding(
            "platform", "warn", f"{name} is not tested", "use Linux, for example in a container"
        )


def _hardware(machine: Machine) -> Iterator[Finding]:
    yield Finding("cores", "ok", _cores(machine))
    if machine.memory_bytes == 0:
        yield Finding("memory", "warn", "the size of the memory is unknown")
        return
    size = f"{machine.memory_bytes / GIB:.1f} GiB of memory"
    if machine.memory_bytes >= _LEAST_MEMORY:
        yield Finding("memory", "ok", size)
    else:
        yield Finding(
            "memory",
            "warn",
            f"only {size}: building a plan may be killed for lack of memory",
            "give the machine or container at least 1 GiB",
        )


def _cores(machine: Machine) -> str:
    if machine.usable_cores < machine.cores:
        return (
            f"{machine.usable_cores} of {machine.cores} CPU cores may be used (CPU limit of the "
            "container, or affinity)"
        )
    return f"{machine.cores} CPU cores"


def _packages(machine: Machine) -> Iterator[Finding]:
    missing = sorted(name for name, version in machine.packages.items() if version is None)
    if missing:
        yield Finding(
            "packages",
            "fail",
            f"not installed: {', '.join(missing)}",
            "install enginecrate again: pip install --force-reinstall enginecrate",
        )
    elif machine.packages:
        yield Finding("packages", "ok", f"all {len(machine.packages)} required packages")
    else:
        yield Finding(
            "packages",
            "warn",
            "enginecrate runs without being installed, so its requirements are not known",
            "install it with pip, from a wheel or with: pip install -e .",
        )


def _runtime(machine: Machine) -> Iterator[Finding]:
    runtime = machine.runtime
    if runtime.problem:
        yield Finding(
            "onnxruntime",
            "fail",
            f"onnxruntime does not import: {runtime.problem}",
            "install it again: pip install --force-reinstall onnxruntime",
        )
    elif "CPUExecutionProvider" not in runtime.providers:
        yield Finding(
            "onnxruntime",
            "fail",
            f"onnxruntime {runtime.version} has no CPU provider: {', '.join(runtime.providers)}",
            "install the standard build: pip install onnxruntime",
        )
    else:
        providers = ", ".join(name.removesuffix("ExecutionProvider") for name in runtime.providers)
        yield Finding("onnxruntime", "ok", f"onnxruntime {runtime.version} ({providers})")


def _cache(machine: Machine) -> Iterator[Finding]:
    cache = machine.cache
    cure = "choose another folder with --cache-dir or ENGINECRATE_CACHE_DIR"
    if cache.problem and machine.containers.inside and machine.has_plans:
        yield Finding(
            "cache",
            "warn",
            f"cannot write in {cache.path}: {cache.problem}; the engines of the image serve, and "
            "none that is built or calibrated here is kept",
            f"mount a volume there that user {machine.uid} may write to",
        )
        return
    if cache.problem:
        yield Finding("cache", "fail", f"cannot write in {cache.path}: {cache.problem}", cure)
        return
    if not cache.owned:
        yield Finding("cache", "fail", f"{cache.path} belongs to another user", cure)
        return
    yield Finding("cache", "ok", f"plans are kept in {cache.path}")
    free = f"{cache.free_bytes / GIB:.1f} GiB free for plans"
    if cache.free_bytes >= _LEAST_DISK:
        yield Finding("disk", "ok", free)
    else:
        yield Finding("disk", "warn", f"only {free}", f"free some space, or {cure}")


def _port(machine: Machine) -> Iterator[Finding]:
    address = f"{machine.host}:{machine.port}"
    if machine.serves:
        yield Finding("port", "ok", f"a server of enginecrate answers on {address}")
    elif machine.port_problem:
        yield Finding(
            "port",
            "warn",
            f"cannot listen on {address}: {machine.port_problem}",
            "choose another with --http-port or ENGINECRATE_HTTP_PORT; 0 takes any free one",
        )
    else:
        yield Finding("port", "ok", f"{address} is free")


def _proxies(machine: Machine) -> Iterator[Finding]:
    """Nothing without proxies: most machines have none."""
    for problem in machine.proxy_problems:
        words, _, cure = problem.partition("; ")
        yield Finding("proxy", "warn", words, cure or "correct NO_PROXY")
    if machine.proxies:
        named = ", ".join(f"{name}: {address}" for name, address in machine.proxies.items())
        yield Finding("proxy", "ok", f"registries are reached through a proxy ({named})")


def _clock(machine: Machine) -> Iterator[Finding]:
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(machine.clock))
    if machine.clock + _CLOCK_SLACK < machine.newest_file:
        yield Finding(
            "clock",
            "warn",
            f"the clock says {now}, but the program's own files are newer",
            "set the clock, for example with NTP: certificates and signatures depend on it",
        )
    else:
        yield Finding("clock", "ok", now)
