"""The cache of typed graphs on disk, addressed by everything that shapes a graph.

<cache>/graphs/<key>/graph.onnx    the graph
                     graph.json    its record
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]

from enginecrate.builder.accuracy.evaluation import Evaluation
from enginecrate.builder.accuracy.labelled import LabelledAccuracy
from enginecrate.builder.graphs.graph_result import GraphResult
from enginecrate.builder.quantization.recovery import Recovery
from enginecrate.errors import PlanInvalid
from enginecrate.files.atomic import write_synced
from enginecrate.files.store import FolderStore
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.typed import TypedGraph
from enginecrate.values import Digest, LayerPrecision, Precision

__all__ = ["GraphStore", "StoredGraph"]

_FORMAT = 1
_GRAPH, _RECORD = "graph.onnx", "graph.json"


class GraphRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The origin of a typed graph. It holds no times."""

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
    """A graph, as bytes and as they are read, with its record."""

    data: bytes
    proto: onnx.ModelProto
    record: GraphRecord

    @classmethod
    def of(cls, result: GraphResult) -> StoredGraph:
        """The form on disk. The speed is left out: it is measured anew on each machine."""
        typed = result.typed
        data = typed.model.proto.SerializeToString(deterministic=True)
        record = GraphRecord(
            graph_digest=str(Digest.of(data)),
            precision=typed.precision,
            layers=typed.layers,
            notes=typed.notes,
            calibration_digest=result.calibration_digest,
            evaluation=result.evaluation,
            recovery=result.recovery,
            labelled=result.labelled,
        )
        return cls(data, typed.model.proto, record)

    def result(self, model: OnnxModel) -> GraphResult:
        """The graph as the one that `model` became. Inputs and outputs are the model's own."""
        record = self.record
        typed = replace(model, proto=self.proto, weights=None)
        return GraphResult(
            TypedGraph(typed, record.precision, record.layers, record.notes),
            record.calibration_digest,
            record.evaluation,
            record.recovery,
            record.labelled,
        )


class GraphStore:
    """Typed graphs in a folder of ours. Several processes may use the same one at once."""

    def __init__(self, root: Path) -> None:
        """Nothing is created before the first `put`. `root` is the cache folder."""
        self._store = FolderStore(root / "graphs", "graph", _load)

    def get(self, key: str) -> StoredGraph | None:
        """The graph of this key, checked; `None` when there is none, or a damaged one.

        Raises:
            CacheUnusable: the folder is not ours, or cannot be read.
        """
        return self._store.get(key)

    def put(self, key: str, stored: StoredGraph) -> None:
        """Store a graph: whole or not at all. What another process stored first stays.

        Raises:
            CacheUnusable: the folder cannot be created or written, or is not ours.
        """

        def fill(folder: Path) -> None:
            write_synced(folder / _GRAPH, stored.data)
            write_synced(folder / _RECORD, _encode(stored.record))

        self._store.put(key, fill, len(stored.data))


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
        proto = onnx.ModelProto.FromString(data)
    except DecodeError as exc:
        raise PlanInvalid(f"{_GRAPH} cannot be read") from exc
    return StoredGraph(data, proto, record)
