"""A project against this machine: its manifest, its lock, and each stack that it targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from enginecrate.errors import StackUnknown
from enginecrate.stacks.catalog import Stack, get_stack
from enginecrate.stacks.doctor.findings import Finding
from enginecrate.stacks.doctor.gpus import driver_version
from enginecrate.stacks.doctor.project_facts import ProjectFacts
from enginecrate.stacks.machine.machine import Machine
from enginecrate.stacks.stack_rules import Compatibility, check_stack
from enginecrate.values import ComputeCapability, canonical_name

__all__ = ["examine_project"]


def examine_project(project: ProjectFacts, machine: Machine) -> Iterator[Finding]:
    """Every finding; a stack that this machine can neither run nor build for is a warning.

    It is a `fail` when no target stack is left at all.
    """
    if project.file is None:
        yield Finding("manifest", "fail", project.problem, "correct it: enginecrate manifest check")
        return
    app = project.file.manifest.app
    yield Finding("manifest", "ok", f"{app.name} {app.version} in {project.file.root}")
    yield from _lock(project)
    usable = False
    for name in dict.fromkeys(project.file.manifest.targets.stacks):
        try:
            stack = get_stack(name)
        except StackUnknown as exc:
            yield Finding(f"stack {name}", "fail", str(exc), "correct targets.stacks")
            continue
        answer = _answer(stack, machine)
        usable = usable or answer.ok or stack.build_anywhere
        yield from _stack(stack, answer, project, machine)
    if not usable:
        yield Finding(
            "targets",
            "fail",
            "this machine can neither run nor build for any stack of targets.stacks",
            "add a stack that it can, such as ort-cpu, or use another machine",
        )


def _lock(project: ProjectFacts) -> Iterator[Finding]:
    if project.lock_problem:
        yield Finding("lock", "fail", project.lock_problem, "write it again: enginecrate lock")
    elif project.lock is None:
        yield Finding(
            "lock",
            "warn",
            "there is no enginecrate.lock: other machines may use other versions",
            "write it, and keep it with the project: enginecrate lock",
        )
    else:
        yield Finding("lock", "ok", "enginecrate.lock belongs to this manifest")


def _answer(stack: Stack, machine: Machine) -> Compatibility:
    """Judge the stack's best engine on each GPU; the answer of the first that can run it."""
    capabilities: list[ComputeCapability | None] = []
    capabilities += [gpu.compute_capability for gpu in machine.nvidia.gpus]
    driver = driver_version(machine.nvidia) if machine.nvidia.gpus else ""
    answers = [
        check_stack(stack, capability, driver, platform=machine.platform)
        for capability in capabilities or [None]
    ]
    return next((answer for answer in answers if answer.ok), answers[0])


def _stack(
    stack: Stack, answer: Compatibility, project: ProjectFacts, machine: Machine
) -> Iterator[Finding]:
    check = f"stack {stack.name}"
    if not answer.ok:
        here = (
            "plans for it can be built here, though"
            if stack.build_anywhere
            else "and plans for it are built on its GPUs alone"
        )
        reason = answer.reasons[0]
        yield Finding(check, "warn", f"cannot run here: {reason.message}; {here}", reason.cure)
        return
    packages = _required(stack, project)
    wrong = list(_wrong(packages, machine.engine_packages))
    if wrong:
        yield Finding(check, "warn", f"packages: {', '.join(wrong)}", _install(stack, packages))
    else:
        notes = "; ".join(["can run here, with its packages", *answer.notes])
        yield Finding(check, "ok", notes)


def _required(stack: Stack, project: ProjectFacts) -> dict[str, str]:
    """Packages and versions as the lock says, or else as the stack does."""
    if project.lock is not None:
        for locked in project.lock.stacks:
            if locked.name == stack.name:
                return {package.name: package.version for package in locked.packages}
    return {package.name: package.version for package in stack.packages}


def _wrong(packages: Mapping[str, str], installed: Mapping[str, str]) -> Iterator[str]:
    for name, version in packages.items():
        have = installed.get(canonical_name(name))
        if have is None:
            yield f"{name} {version} is not installed"
        elif have != version:
            yield f"{name} {have} is installed in place of {version}"


def _install(stack: Stack, packages: Mapping[str, str]) -> str:
    if not stack.installable:
        return stack.note
    return "pip install " + " ".join(f"{name}=={version}" for name, version in packages.items())
