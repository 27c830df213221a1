"""The cache of plans on disk, addressed by everything that shapes a plan.

<cache>/plans/<key>/plan.onnx    the plan's bytes; other files of it lie beside
                    plan.json    its sidecar (values.PlanInfo)

Beside `plans`, other caches share the size limit: `graphs` (builder/graphs/cache.py), `timing`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from enginecrate.engines.base import BuiltPlan, Plan
from enginecrate.engines.cache.plan_files import check_files, copy_files
from enginecrate.errors import PlanInvalid
from enginecrate.files.atomic import write_atomic, write_synced
from enginecrate.files.disk_errors import refuse_larger
from enginecrate.files.eviction import Pin, evict, mark_used
from enginecrate.files.store import FolderStore
from enginecrate.values import Digest, PlanInfo, Precision, Progress, no_progress

__all__ = ["PlanRequest", "PlanStore", "one_by_one", "read_plan"]

_FORMAT = 2
_SIDECAR = "plan.json"
_SUFFIXES = {"onnxruntime": ".onnx"}


class PlanRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that shapes a plan: two equal requests give the same bytes on one machine."""

    backend: str
    backend_version: str
    tool_version: str
    stack: str
    platform: str
    device: str
    model_digest: str
    graph_digest: str
    precision: Precision
    profiles: tuple[dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]], ...]
    options: dict[str, str | int | float | bool]
    calibration_digest: str = ""
    hardware_compatibility: str = "none"
    version_compatible: bool = False
    weights: str = "full"

    @classmethod
    def of(cls, info: PlanInfo) -> PlanRequest:
        """The request that a plan answers."""
        names = [field.name for field in msgspec.structs.fields(cls)]
        values = {name: getattr(info, name) for name in names}
        return cls(**{**values, "profiles": tuple(info.profiles)})


class PlanStore:
    """Plans in a folder of ours. Several processes may use the same one at once."""

    def __init__(self, root: Path, max_bytes: int = 0) -> None:
        """Nothing is created before the first `put`.

        Args:
            root: the cache folder.
            max_bytes: most bytes of all caches in `root` together; 0: no limit.
        """
        self._folder = root / "plans"
        self._store = FolderStore(
            self._folder, "plan", lambda folder: read_plan(folder, folder.name)
        )
        self._caches = (self._folder, root / "graphs", root / "timing")
        self._max_bytes = max_bytes

    @staticmethod
    def key(request: PlanRequest) -> str:
        """64 hex digits: the digest of the request as canonical JSON (sorted keys, no spaces)."""
        return Digest.of(msgspec.json.encode(request, order="sorted")).hex

    def get(self, key: str) -> Plan | None:
        """The plan of this key with its bytes checked; `None` when there is none, or a damaged one.

        Raises:
            CacheUnusable: the folder belongs to another user, others may write to it, or the
                plan cannot be read.
        """
        return self._store.get(key)

    def put(self, key: str, built: BuiltPlan) -> Plan:
        """Store a plan: whole or not at all, also when the process is killed.

        When another process was quicker, its plan is the answer. Plans that were not used for the
        longest time are evicted until all fit into the cache again.

        Raises:
            CacheUnusable: the folder cannot be created or written, or is not ours.
            CacheFull: the disk is full, or the plan alone is larger than the cache may become.
            PlanInvalid: the plan does not belong to this key, or its files are not what its
                sidecar says.
        """
        info = built.info
        _check_info(info, key)
        size = info.plan_bytes + sum(file.stat().st_size for file in built.files.values())
        refuse_larger("the plan", size, self._max_bytes)

        def fill(folder: Path) -> None:
            write_synced(folder / _plan_name(info), built.data)
            copy_files(built.files, info, folder)
            write_synced(folder / _SIDECAR, _sidecar(info))

        folder = self._folder / key
        plan = self._store.put(key, fill, size) or Plan(folder / _plan_name(info), info)
        evict(self._caches, self._max_bytes, keep={folder})
        return plan

    def obtain(
        self, key: str, build: Callable[[], BuiltPlan], progress: Progress = no_progress
    ) -> tuple[Plan, BuiltPlan | None]:
        """The plan of this key; where it is missing, it is built, by one process only.

        Args:
            key: of the plan.
            build: makes it.
            progress: told when another process builds the plan and this one waits for it.

        Returns:
            The stored plan, and what was built; `None` when the cache had it, or another process
            built it meanwhile.

        Raises:
            CacheUnusable, CacheFull, PlanInvalid: as `put`.
        """
        plan = self.get(key)
        if plan is not None:
            return plan, None
        with self.building(key, progress):
            plan = self.get(key)
            if plan is not None:
                return plan, None
            built = build()
            return self.put(key, built), built

    def building(self, key: str, progress: Progress = no_progress) -> AbstractContextManager[None]:
        """Be the only one who builds this plan, over all processes that share the cache.

        Whoever had to wait looks with `get` whether the plan is there now. The lock of a process
        that is killed is free at once.

        Raises:
            CacheUnusable: the folder cannot be created or written, or is not ours.
        """
        step = "wait for another process that builds this plan"
        return self._store.making(key, lambda: progress(step, 0, 0))

    def pin(self, plan: Plan) -> Pin:
        """Keep a plan from being evicted while an engine uses it, until the pin is closed.

        Raises:
            PlanInvalid: it was evicted just now.
        """
        folder = plan.path.parent
        try:
            pin = Pin(folder)
        except OSError as exc:
            raise PlanInvalid(
                f"the plan {plan.path} is gone ({exc.strerror}); build it again, or raise the "
                "setting cache_max_bytes"
            ) from exc
        mark_used(folder)
        return pin


def one_by_one(plan: Plan, note: str) -> Plan:
    """The plan with a largest batch of 1; its sidecar says so, and why, wherever it can be written.

    Args:
        plan: with a batch dimension.
        note: why, as a sentence of `PlanInfo.notes`.
    """
    notes = (*plan.info.notes, note)
    limited = Plan(plan.path, msgspec.structs.replace(plan.info, max_batch=1, notes=notes))
    sidecar = plan.path.parent / _SIDECAR
    with contextlib.suppress(OSError):  # an image's plans are read-only, and some are in memory
        if sidecar.is_file():
            write_atomic(sidecar, _sidecar(limited.info))
    return limited


def _plan_name(info: PlanInfo) -> str:
    return "plan" + _SUFFIXES.get(info.backend, ".engine")


def _sidecar(info: PlanInfo) -> bytes:
    return msgspec.json.format(msgspec.json.encode(info, order="sorted"), indent=2) + b"\n"


def _read(folder: Path) -> Plan:
    return read_plan(folder, folder.name)


def _check_info(info: PlanInfo, key: str) -> None:
    if PlanStore.key(PlanRequest.of(info)) != key:
        raise PlanInvalid(f"the sidecar belongs to another plan than {key}")


def read_plan(folder: Path, key: str) -> Plan:
    """Read a plan's folder: the sidecar, and the plan's bytes checked against it.

    Whose folder it is, is not asked: whoever calls knows why it can be trusted.

    Raises:
        PlanInvalid: it belongs to another key, or is damaged.
        OSError: a file is missing, or cannot be read.
    """
    try:
        info = msgspec.json.decode((folder / _SIDECAR).read_bytes(), type=PlanInfo)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise PlanInvalid(f"{_SIDECAR} is not a sidecar: {exc}") from exc
    if info.format != _FORMAT:
        raise PlanInvalid(f"{_SIDECAR} has format {info.format}, and this version reads {_FORMAT}")
    _check_info(info, key)
    path = folder / _plan_name(info)
    if path.stat().st_size != info.plan_bytes or Digest.of_file(path) != info.plan_digest:
        raise PlanInvalid(f"{path.name} has other bytes than {_SIDECAR} promises")
    check_files(info, folder)
    return Plan(path, info)
