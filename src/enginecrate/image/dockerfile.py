"""A Dockerfile and its context: the same files and configuration for Docker, BuildKit and buildah.

    Dockerfile      a builder that runs the locked Python, and a final stage FROM scratch
    SHA256SUMS      of debs and wheels, for `sha256sum --check`
    debs/ wheels/   the locked packages, as they came
    files/          what comes from no package: the app, plans, bytecode, lists; named by sha256
    files.json      every file of the image: layer, path, mode, sha256, and where it comes from
    builder/        the locked Python, unpacked, which runs unpack.py
    unpack.py       takes the archives apart (`context_unpacker.py`)

Nothing is downloaded during the build, and no base image is needed.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginecrate.errors import ProjectExists, RecipeInvalid
from enginecrate.files.atomic import scratch_folder
from enginecrate.image import context_unpacker
from enginecrate.image.formats.oci import ContainerConfig
from enginecrate.image.image_plan import PlatformPlan, plan_platform
from enginecrate.image.image_requests import ImageRequest, tags_of
from enginecrate.image.layers.base_files import BaseFiles
from enginecrate.image.layers.collection import collect
from enginecrate.image.layers.entries import Entry, Folder, Link, RegularFile
from enginecrate.image.layers.packages.debs import DebContents
from enginecrate.image.layers.python.interpreter import runs_python
from enginecrate.image.layers.tar import tar_size
from enginecrate.image.layers.unpacker import unpack
from enginecrate.image.recipe.package_layers import Artifacts
from enginecrate.values import Progress, no_progress

__all__ = ["dockerfile_text", "refuse_existing", "write_context"]

_SECOND = 10**9
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def write_context(
    request: ImageRequest, artifacts: Artifacts, folder: Path, progress: Progress = no_progress
) -> tuple[str, ...]:
    """Write the context of one platform's image; whole or not at all.

    Args:
        request: for one platform.
        artifacts: gives the locked packages.
        folder: is made; it must not exist.
        progress: told what goes on.

    Returns:
        The image's tags.

    Raises:
        ProjectExists: there is something at `folder`.
        RecipeInvalid: the image stands on a vendor's base, or is for several platforms.
        ImageError: as `build_image`.
    """
    refuse_existing(folder)
    if request.bases or len(request.platforms) != 1:
        raise RecipeInvalid(
            "a Dockerfile is written for one platform, and for images without a vendor's base; "
            "name one with --platform, or build with: enginecrate image build"
        )
    with plan_platform(request, request.platforms[0], artifacts, progress) as plan:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(folder.parent, folder.name, 0o777) as scratch:
            _write(plan, scratch, progress)
            scratch.rename(folder)
    return tags_of(request).all


def refuse_existing(folder: Path) -> None:
    """Raises `ProjectExists`: there is something at `folder`."""
    if folder.exists():
        raise ProjectExists(f"{folder} exists; name a folder that does not, or remove it")


def dockerfile_text(config: ContainerConfig, layers: Sequence[str], python: str, tag: str) -> str:
    """The Dockerfile. `layers`: their titles; `python`: `3.11`.

    Raises:
        RecipeInvalid: a variable or label has a control character.
    """
    lines = [
        f"# Written by `enginecrate image dockerfile` for {tag}. Nothing is downloaded.",
        "FROM scratch AS builder",
        "COPY builder/ /",
        "COPY . /context/",
        f'RUN ["/usr/bin/python{python}", "-I", "-S", "/context/unpack.py", "/context", "/layers"]',
        "",
        "FROM scratch",
        *(
            line
            for number, title in enumerate(layers, start=1)
            for line in (f"# {title}", f"COPY --from=builder /layers/{number}/ /")
        ),
        *(f"ENV {name}={_quoted(value)}" for name, _, value in map(_variable, config.env)),
        *(f"LABEL {name}={_quoted(value)}" for name, value in config.labels.items()),
        f"USER {config.user}",
        f"WORKDIR {config.working_dir}",
        *(f"EXPOSE {port}" for port in config.exposed_ports),
        f"VOLUME {json.dumps(list(config.volumes))}",
        f"STOPSIGNAL {config.stop_signal}",
        _healthcheck(config.healthcheck),
        f"ENTRYPOINT {json.dumps(list(config.entrypoint))}",
    ]
    return "\n".join(lines) + "\n"


def _variable(text: str) -> tuple[str, str, str]:
    return text.partition("=")


def _quoted(value: str) -> str:
    """A value that every builder reads back as it is. Raises `RecipeInvalid`: no line can hold it.

    In double quotes a backslash escapes `"`, `$` and itself; all else stands for itself.
    """
    if _CONTROL.search(value):
        raise RecipeInvalid(
            f"{value!r} has a control character, which no Dockerfile can hold; correct the "
            "manifest, or what was given with --revision"
        )
    return '"' + re.sub(r'(["$\\])', r"\\\1", value) + '"'


def _healthcheck(check: Mapping[str, Any]) -> str:
    seconds = {name: check[name] // _SECOND for name in ("Interval", "Timeout", "StartPeriod")}
    return (
        f"HEALTHCHECK --interval={seconds['Interval']}s --timeout={seconds['Timeout']}s "
        f"--start-period={seconds['StartPeriod']}s --retries={check['Retries']} "
        f"CMD {json.dumps(check['Test'][1:])}"
    )


def _write(plan: PlatformPlan, folder: Path, progress: Progress) -> None:
    archives = _copy_archives(plan, folder)
    writer = _Files(folder, _members(folder, archives))
    layers, size = [], 0
    for number, recipe in enumerate(plan.recipe, start=1):
        progress("write the context", number, len(plan.recipe))
        entries = collect(recipe)
        layers.append([writer.line(entry) for entry in entries])
        size += tar_size(entries)
    listing = {"archives": archives, "layers": layers}
    (folder / "files.json").write_text(json.dumps(listing, sort_keys=True, indent=0) + "\n")
    sums = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(archives.items()))
    (folder / "SHA256SUMS").write_text(sums)
    shutil.copyfile(context_unpacker.__file__, folder / "unpack.py")
    _unpack_builder(plan, folder / "builder")
    python = ".".join(plan.locked.interpreter.split(".")[:2])
    titles = [recipe.title for recipe in plan.recipe]
    container = plan.container(plan.needs(size, 0))
    text = dockerfile_text(container, titles, python, tags_of(plan.request).own)
    (folder / "Dockerfile").write_text(text, encoding="utf-8")


def _copy_archives(plan: PlatformPlan, folder: Path) -> dict[str, str]:
    """Copy the packages into the context; their sha256 by their paths there."""
    checksums = {}
    groups = (("debs", plan.locked.debs), ("wheels", plan.locked.wheels))
    for name, packages in groups:
        (folder / name).mkdir()
        for package in packages:
            shutil.copyfile(plan.paths[package.sha256], folder / name / package.file)
            checksums[f"{name}/{package.file}"] = package.sha256
    return checksums


def _members(folder: Path, archives: Mapping[str, str]) -> dict[str, str]:
    """The archive that has a file, by the file's sha256."""
    archive_of: dict[str, str] = {}
    for name in sorted(archives):
        for stream in context_unpacker.archive_members(folder / name):
            hasher = hashlib.sha256()
            while piece := stream.read(1 << 20):
                hasher.update(piece)
            archive_of.setdefault(hasher.hexdigest(), name)
    return archive_of


@dataclass(slots=True)
class _Files:
    """Writer of the lines of files.json; it keeps the files that no archive has."""

    folder: Path
    members: Mapping[str, str]

    def line(self, entry: Entry) -> list[str | int]:
        match entry:
            case Folder(path, mode, owner):
                return ["folder", path, mode, owner]
            case Link(path, target):
                return ["link", path, target]
            case RegularFile(path, _, mode):
                sha256 = hashlib.sha256()
                for piece in entry.pieces():
                    sha256.update(piece)
                name = sha256.hexdigest()
                return ["file", path, mode, name, self.members.get(name) or self._keep(entry, name)]

    def _keep(self, entry: RegularFile, name: str) -> str:
        path = self.folder / "files" / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            with path.open("xb") as file:
                file.writelines(entry.pieces())
        return f"files/{name}"


def _unpack_builder(plan: PlatformPlan, folder: Path) -> None:
    """The interpreter with the libraries below it, as files."""
    debs = [
        DebContents(plan.paths[deb.sha256], deb)
        for deb in plan.locked.debs
        if runs_python(deb) or deb.name.startswith(("lib", "zlib"))
    ]
    folder.mkdir()
    unpack([BaseFiles(lib64=plan.locked.platform == "linux/amd64"), *debs], folder)
