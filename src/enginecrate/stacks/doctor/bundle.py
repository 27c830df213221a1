"""The support bundle: facts about a machine for the vendor's support, in one ZIP file."""

from __future__ import annotations

import contextlib
import getpass
import importlib.metadata
import io
import json
import os
import platform
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import msgspec

from enginecrate.settings import SETTINGS, Settings, home_folder
from enginecrate.stacks.doctor import Finding
from enginecrate.stacks.doctor.project_facts import ProjectFacts
from enginecrate.stacks.doctor.scrub import Scrubber, allowed_environment
from enginecrate.stacks.lock import LOCK_NAME
from enginecrate.stacks.machine.machine import Machine
from enginecrate.version import __version__

__all__ = ["make_bundle"]

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a ZIP file can hold."""

_MOST = 4 * 2**20
"""Bytes of a file that are taken."""

_README = f"""\
A support bundle of enginecrate {__version__}.

findings.json      what the doctor found, and what to do about it
machine.json       the facts that it judged
versions.json      installed packages
settings.json      settings, and where each comes from
environment.json   environment variables from a short list; all others were left out
nvidia-smi.txt     what nvidia-smi prints, without the list of processes
enginecrate.toml, enginecrate.lock, report.json
                   of the project, when one was named and they are there

Passwords, tokens, keys, credentials in addresses, mail addresses, the home folder, the names of the
user and of the machine, and ids of GPUs were replaced. That is done by name and by form, which is
no proof: please look through the files before you send them.
"""


def make_bundle(
    findings: Sequence[Finding],
    machine: Machine,
    settings: Settings,
    project: ProjectFacts | None = None,
) -> bytes:
    """The bytes of the ZIP file: scrubbed texts alone, in a fixed order, without times."""
    scrubber = _scrubber()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in _files(findings, machine, settings, project):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), scrubber.text(text))
    return content.getvalue()


def _files(
    findings: Sequence[Finding], machine: Machine, settings: Settings, project: ProjectFacts | None
) -> Iterator[tuple[str, str]]:
    yield "README.txt", _README
    yield "findings.json", _json(findings)
    yield "machine.json", _json(asdict(machine) | {"clock": int(machine.clock)})
    yield "versions.json", _json(_versions())
    values = {
        setting.name: {
            "value": getattr(settings, setting.name),
            "origin": settings.origin[setting.name],
        }
        for setting in SETTINGS
    }
    yield "settings.json", _json(values)
    yield "environment.json", _json(allowed_environment(os.environ))
    if (output := _nvidia_smi()) is not None:
        yield "nvidia-smi.txt", output
    if project is not None:
        yield from _project(project)


def _project(project: ProjectFacts) -> Iterator[tuple[str, str]]:
    named = project.path if project.path.is_dir() else project.path.parent
    root = project.file.root if project.file is not None else named
    manifest = project.file.path if project.file is not None else project.path
    files = {
        "enginecrate.toml": manifest / "enginecrate.toml" if manifest.is_dir() else manifest,
        LOCK_NAME: root / LOCK_NAME,
        "report.json": root / "build" / "report.json",
    }
    for name, path in files.items():
        try:
            with path.open("rb") as file:
                yield name, file.read(_MOST).decode("utf-8", errors="replace")
        except OSError:
            continue


def _versions() -> dict[str, Any]:
    packages = {
        distribution.metadata["Name"]: distribution.version
        for distribution in importlib.metadata.distributions()
        if distribution.metadata["Name"]
    }
    return {
        "enginecrate": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": dict(sorted(packages.items(), key=lambda pair: pair[0].lower())),
    }


def _nvidia_smi() -> str | None:
    """The output of nvidia-smi without the processes: their names are not ours to send."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        answer = subprocess.run(  # noqa: S603 -- fixed arguments
            [program], capture_output=True, text=True, errors="replace", timeout=30, check=False
        )
    except (OSError, subprocess.SubprocessError) as exc:
        return f"nvidia-smi fails: {exc}\n"
    lines = (answer.stdout + answer.stderr).splitlines()
    end = next((i for i, line in enumerate(lines) if line.startswith("| Processes")), len(lines))
    return "\n".join(lines[:end]) + "\n"


def _scrubber() -> Scrubber:
    users = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "SUDO_USER")}
    with contextlib.suppress(KeyError, OSError):
        users.add(getpass.getuser())
    return Scrubber(home=home_folder(), users=users, host=platform.node())


def _json(value: Any) -> str:
    builtins = msgspec.to_builtins(value, enc_hook=str)
    return json.dumps(builtins, indent=2, ensure_ascii=False) + "\n"
