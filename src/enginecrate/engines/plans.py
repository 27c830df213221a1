"""The cache of plans on disk, addressed by everything that shapes a plan.

<cache>/plans/<key>/plan.onnx    the plan's bytes
                    plan.json    its sidecar (values.PlanInfo)
              <key>.corrupt/     a damaged plan that was set aside
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
from pathlib import Path

import msgspec

from enginecrate.engines.atomic import scratch_folder, sweep, sync_folder, write_synced
from enginecrate.engines.base import BuiltPlan, Plan
from enginecrate.errors import CacheUnusable, PlanInvalid
from enginecrate.values import Digest, PlanInfo, Precision

__all__ = ["PlanRequest", "PlanStore"]

_log = logging.getLogger(__name__)

_FORMAT = 2
_SIDECAR = "plan.json"
_SUFFIXES = {"onnxruntime": ".onnx"}
_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST}


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

    def __init__(self, root: Path) -> None:
        """Nothing is created before the first `put`. `root` is the cache folder."""
        self._folder = root / "plans"

    @staticmethod
    def key(request: PlanRequest) -> str:
        """64 hex digits: the digest of the request as canonical JSON (sorted keys, no spaces)."""
        return Digest.of(msgspec.json.encode(request, order="sorted")).hex

    def get(self, key: str) -> Plan | None:
        """The plan of this key with its bytes checked; `None` when there is none.

        A damaged plan is renamed to `<key>.corrupt`, logged as a warning, and counts as none.

        Raises:
            CacheUnusable: the folder belongs to somebody else, others may write to it, or the
                plan cannot be read.
        """
        if not self._exists():
            return None
        folder = self._folder / key
        try:
            return _load(folder, key)
        except FileNotFoundError as exc:
            if not folder.exists():
                return None
            self._set_aside(folder, f"{Path(exc.filename).name} is missing")
        except PlanInvalid as exc:
            self._set_aside(folder, str(exc))
        except OSError as exc:
            raise CacheUnusable(
                f"cannot read the plan in {folder}: {exc.strerror}; correct its permissions, or "
                "choose another folder with the setting cache_dir"
            ) from exc
        return None

    def put(self, key: str, built: BuiltPlan) -> Plan:
        """Store a plan: whole or not at all, also when the process is killed.

        When another process was quicker, its plan is the answer.

        Raises:
            CacheUnusable: the folder cannot be created or written, or is not ours.
            PlanInvalid: the plan does not belong to this key.
        """
        _check_info(built.info, key)
        try:
            self._prepare()
            self.sweep()
            with scratch_folder(self._folder, key) as scratch:
                write_synced(scratch / _plan_name(built.info), built.data)
                write_synced(scratch / _SIDECAR, _sidecar(built.info))
                sync_folder(scratch)
                return self._publish(scratch, key)
        except OSError as exc:
            raise CacheUnusable(
                f"cannot write the plan to {self._folder}: {exc.strerror}; make room or correct "
                "its permissions, or choose another folder with the setting cache_dir"
            ) from exc

    def sweep(self) -> int:
        """Remove what killed builds left behind; plans and living builds are not touched.

        Returns:
            How many folders were removed.
        """
        return sweep(self._folder)

    def _publish(self, scratch: Path, key: str) -> Plan:
        folder = self._folder / key
        while True:
            try:
                scratch.rename(folder)
            except OSError as exc:
                if exc.errno not in _OCCUPIED:
                    raise
                # A damaged plan is set aside by `get`, and the name is free for the next try.
                existing = self.get(key)
                if existing is not None:
                    return existing
                continue
            sync_folder(self._folder)
            return _load(folder, key)

    def _exists(self) -> bool:
        """Whether the folder is there; refuses one in which others could place plans."""
        try:
            found = self._folder.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as exc:
            raise CacheUnusable(
                f"cannot look into {self._folder}: {exc.strerror}; "
                "choose another folder with the setting cache_dir"
            ) from exc
        _check_ours(self._folder, found)
        return True

    def _prepare(self) -> None:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if self._exists() and stat.S_IMODE(self._folder.lstat().st_mode) != 0o700:
            self._folder.chmod(0o700)

    def _set_aside(self, folder: Path, reason: str) -> None:
        aside = folder.with_name(f"{folder.name}.corrupt")
        _log.warning("the cached plan %s is damaged and was set aside: %s", folder, reason)
        shutil.rmtree(aside, ignore_errors=True)
        try:
            folder.rename(aside)
        except FileNotFoundError:  # another process has just done the same
            return
        except OSError as exc:
            raise CacheUnusable(
                f"cannot set the damaged plan {folder} aside: {exc.strerror}; remove the folder"
            ) from exc


def _check_ours(folder: Path, found: os.stat_result) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise CacheUnusable(f"{folder} is not a folder; move it out of the way")
    if found.st_uid != os.geteuid():
        raise CacheUnusable(
            f"{folder} belongs to user {found.st_uid}, and this process runs as user "
            f"{os.geteuid()}, who must not trust plans of others; choose another folder with the "
            "setting cache_dir"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CacheUnusable(
            f"other users may write to {folder}, so its plans cannot be trusted; remove it"
        )


def _plan_name(info: PlanInfo) -> str:
    return "plan" + _SUFFIXES.get(info.backend, ".engine")


def _sidecar(info: PlanInfo) -> bytes:
    return msgspec.json.format(msgspec.json.encode(info, order="sorted"), indent=2) + b"\n"


def _check_info(info: PlanInfo, key: str) -> None:
    if PlanStore.key(PlanRequest.of(info)) != key:
        raise PlanInvalid(f"the sidecar belongs to another plan than {key}")


def _load(folder: Path, key: str) -> Plan:
    """Read the sidecar and check the plan's bytes against it. Raises `PlanInvalid`, `OSError`."""
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
    return Plan(path, info)
