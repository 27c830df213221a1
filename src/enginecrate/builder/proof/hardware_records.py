"""Measurements on a GPU are kept for machines that have none.

<cache>/hardware/<key>.json    one typed graph on one kind of device
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from enginecrate.builder.accuracy.evaluation import Evaluation
from enginecrate.files.private_folder import is_ours, write_ours
from enginecrate.values import Digest, PlanInfo

__all__ = ["HardwareRecord", "load_record", "record_path", "save_record"]

_log = logging.getLogger(__name__)


class HardwareRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The agreement with FP32 of a graph that a backend compiled and ran on a device.

    gpu: its name. A plan may be built again with other bytes; its graph is the same.
    """

    format: int = 1
    graph_digest: str
    backend: str
    backend_version: str
    device: str
    gpu: str
    evaluation: Evaluation


def record_path(cache: Path, info: PlanInfo, photos: str) -> Path:
    """The path of the record, which need not exist.

    Args:
        cache: the cache folder.
        info: of the plan.
        photos: digest of what accuracy was measured with; other photos give another record.
    """
    parts = (info.graph_digest, info.backend, info.backend_version, info.device, photos)
    return cache / "hardware" / f"{Digest.of(msgspec.json.encode(parts)).hex}.json"


def load_record(path: Path) -> HardwareRecord | None:
    """Read a record; `None` when there is none, or none that can be read.

    Raises:
        CacheUnusable: the folder belongs to somebody else, or others may write to it.
    """
    if not is_ours(path.parent):
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=HardwareRecord)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as exc:
        _log.warning("the record %s cannot be read and is left aside: %s", path, exc)
        return None


def save_record(path: Path, record: HardwareRecord) -> None:
    """Write a record, whole or not at all.

    Raises:
        CacheUnusable: the folder cannot be created or written, or is not ours.
    """
    data = msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"
    write_ours(path, data, "the record")
