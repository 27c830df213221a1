"""The cache of typed graphs on disk, addressed by everything that shapes a graph.

<cache>/graphs/<key>/graph.onnx    the graph
                     graph.json    its record
              <key>.corrupt/       a damaged one that was set aside
"""

from __future__ import annotations

import errno
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]

from enginecrate.builder.accuracy.evaluation import Evaluation
from enginecrate.builder.accuracy.labelled import LabelledAccuracy
from enginecrate.builder.quantization.recovery import Recovery
from enginecrate.errors import CacheUnusable, PlanInvalid
from enginecrate.files.atomic import scratch_folder, sweep, sync_folder, write_synced
from enginecrate.files.disk_errors import write_refused
from enginecrate.files.own_folder import is_ours, make_ours
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.typed import TypedGraph
from enginecrate.values import Digest, LayerPrecision, Precision

__all__ = ["GraphRecord", "GraphStore", "StoredGraph"]

_log = logging.getLogger(__name__)

_FORMAT = 1
_GRAPH, _RECORD = "graph.onnx", "graph.json"
_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST}


class GraphRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a typed graph came to be. It holds no times."""

    format: int = _FORMAT
    graph_digest: str
    precision: Precision
    layers: tuple[LayerPrecision, ...] = ()
    notes: tuple[str, ...] = ()
    calibration_digest: str = ""
    evaluation: Evaluation | None = None
    recovery: Recovery | None = None
    labelled: LabelledAccuracy | None = None


class StoredGraph(msgspec.Struct, frozen=True):
    """A graph's bytes with its record."""

    data: bytes
    record: GraphRecord

    def typed(self, model: OnnxModel) -> TypedGraph:
        """The graph as the one that `model` became. Inputs and outputs are the model's own."""
        proto = onnx.ModelProto.FromString(self.data)
        typed = replace(model, proto=proto, weights=None)
        record = self.record
        return TypedGraph(typed, record.precision, record.layers, record.notes)


class GraphStore:
    """Typed graphs in a folder of ours. Several processes may use the same one at once."""

    def __init__(self, root: Path) -> None:
        """Nothing is created before the first `put`. `root` is the cache folder."""
        self._folder = root / "graphs"

    def get(self, key: str) -> StoredGraph | None:
        """The graph of this key, checked; a damaged one is set aside, and counts as none.

        Raises:
            CacheUnusable: the folder is not ours, or cannot be read.
        """
        if not is_ours(self._folder):
            return None
        folder = self._folder / key
        try:
            return _load(folder)
        except FileNotFoundError as exc:
            if not folder.exists():
                return None
            self._set_aside(folder, f"{Path(exc.filename).name} is missing")
        except PlanInvalid as exc:
            self._set_aside(folder, str(exc))
        except OSError as exc:
            raise CacheUnusable(
                f"cannot read the graph in {folder}: {exc.strerror}; correct its permissions, or "
                "choose another folder with the setting cache_dir"
            ) from exc
        return None

    def put(self, key: str, stored: StoredGraph) -> None:
        """Store a graph: whole or not at all. What another process stored first stays.

        Raises:
            CacheUnusable: the folder cannot be created or written, or is not ours.
        """
        try:
            make_ours(self._folder)
            sweep(self._folder)
            with scratch_folder(self._folder, key) as scratch:
                write_synced(scratch / _GRAPH, stored.data)
                write_synced(scratch / _RECORD, _encode(stored.record))
                sync_folder(scratch)
                try:
                    scratch.rename(self._folder / key)
                except OSError as exc:
                    if exc.errno not in _OCCUPIED:
                        raise
                sync_folder(self._folder)
        except OSError as exc:
            raise write_refused("the graph", self._folder, exc, len(stored.data)) from exc

    def _set_aside(self, folder: Path, reason: str) -> None:
        aside = folder.with_name(f"{folder.name}.corrupt")
        _log.warning("the cached graph %s is damaged and was set aside: %s", folder, reason)
        shutil.rmtree(aside, ignore_errors=True)
        try:
            folder.rename(aside)
        except FileNotFoundError:  # another process has just done the same
            return
        except OSError as exc:
            raise CacheUnusable(
                f"cannot set the damaged graph {folder} aside: {exc.strerror}; remove the folder"
            ) from exc


def _encode(record: GraphRecord) -> bytes:
    return msgspec.json.format(msgspec.json.encode(record, order="sorted"), indent=1) + b"\n"


def _load(folder: Path) -> StoredGraph:
    try:
        record = msgspec.json.decode((folder / _RECORD).read_bytes(), type=GraphRecord)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise PlanInvalid(f"{_RECORD} is not a record: {exc}") from exc
    if record.format != _FORMAT:
        raise PlanInvalid(f"{_RECORD} has format {record.format}, and this version reads {_FORMAT}")
    data = (folder / _GRAPH).read_bytes()
    if Digest.of(data) != record.graph_digest:
        raise PlanInvalid(f"{_GRAPH} has other bytes than {_RECORD} promises")
    try:
        onnx.ModelProto.FromString(data)
    except DecodeError as exc:
        raise PlanInvalid(f"{_GRAPH} cannot be read") from exc
    return StoredGraph(data, record)
