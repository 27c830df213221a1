"""The plan that a target got the last time: a start need not make its graph again.

    <cache>/ladder/<digest>.json    {"plan": "<key of the plan>"}

The name is the digest of everything that a plan is made from. A record is only a hint: the plan
itself is checked as ever, and without a record it is found, or built, in the usual way.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import msgspec

from enginecrate.builder.plans.plan_fit import misfit
from enginecrate.builder.plans.targets import Target
from enginecrate.builder.project.project import Project
from enginecrate.engines.backends import get_backend
from enginecrate.engines.base import Plan
from enginecrate.engines.cache.plans import PlanRequest, PlanStore
from enginecrate.errors import CacheUnusable
from enginecrate.files.private_folder import is_ours, write_ours
from enginecrate.graph.rewrite.simplify import simplifier
from enginecrate.settings import Settings
from enginecrate.values import Digest
from enginecrate.version import __version__

__all__ = ["recall", "record"]

_TOOLS = ("numpy", "onnx", "onnxruntime")


class _Record(msgspec.Struct, frozen=True):
    plan: str


def record(project: Project, target: Target, plan: Plan, settings: Settings) -> None:
    """Note which plan a target has. Where the cache cannot be written, nothing is noted."""
    path = _path(project, target, settings)
    content = msgspec.json.encode(_Record(PlanStore.key(PlanRequest.of(plan.info))))
    with contextlib.suppress(OSError, CacheUnusable):
        if not path.exists() or path.read_bytes() != content:
            write_ours(path, content, "the record")


def recall(project: Project, target: Target, settings: Settings) -> Plan | None:
    """The plan that a target got the last time, checked; `None` when there is none any more.

    Raises:
        CacheUnusable: the cache folder cannot be used.
    """
    path = _path(project, target, settings)
    if not is_ours(path.parent):
        return None
    try:
        noted = msgspec.json.decode(path.read_bytes(), type=_Record)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    plan = PlanStore(settings.cache_path, settings.cache_max_bytes).get(noted.plan)
    return plan if plan is not None and not misfit(plan.info, project, target) else None


def _path(project: Project, target: Target, settings: Settings) -> Path:
    digest = Digest.of("\n".join(_parts(project, target)).encode())
    return settings.cache_path / "ladder" / f"{digest.hex}.json"


def _parts(project: Project, target: Target) -> Iterator[str]:
    rung = target.rung
    yield from (__version__, str(project.file.digest), str(project.model.source_digest))
    yield from (str(target), rung.backend, rung.device, get_backend(rung.backend).probe().version)
    yield simplifier()
    for tool in _TOOLS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield f"{tool} {importlib.metadata.version(tool)}"
    precision = project.manifest.precision
    accuracy = precision.accuracy
    images = precision.calibration.images if precision.calibration else None
    for name in (images, accuracy.images, accuracy.labelled, accuracy.golden):
        if name:
            yield from _files(project.root / name)


def _files(folder: Path) -> Iterator[str]:
    """Names, sizes and times of files that shape a graph; reading them all would take long."""
    for path in sorted([folder, *folder.rglob("*")]):
        with contextlib.suppress(OSError):
            status = path.stat()
            yield f"{path.relative_to(folder)} {status.st_size} {status.st_mtime_ns}"
