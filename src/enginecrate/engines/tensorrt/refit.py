"""Give a plan without weights those of its ONNX graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from enginecrate.engines.tensorrt.bindings import Library
from enginecrate.engines.tensorrt.messages import Messages, plain
from enginecrate.errors import PlanInvalid, PlanMismatch
from enginecrate.values import Digest, PlanInfo

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["read_weights", "refit_engine"]


def read_weights(info: PlanInfo, path: Path | None) -> bytes:
    """The ONNX graph that a plan without weights was built from; checked by its digest.

    Raises:
        PlanMismatch: there is none, or it is another one.
        PlanInvalid: it cannot be read.
    """
    if path is None:
        raise PlanMismatch(
            "the plan has no weights of its own, and no ONNX graph was given with it; keep the "
            "graph beside the plan, or build with build.strip_weights = false"
        )
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise PlanInvalid(f"cannot read the plan's weights from {path}: {exc.strerror}") from exc
    if Digest.of(data) != info.graph_digest:
        raise PlanMismatch(
            f"the plan's weights come from the graph {info.graph_digest}, and {path} is another "
            "one; build the plan again"
        )
    return data


def refit_engine(
    library: Library, engine: trt.ICudaEngine, logger: trt.ILogger, model: bytes
) -> None:
    """Put the weights of a serialized ONNX model into an engine. Raises `PlanInvalid`."""
    refitter = library.api.Refitter(engine, logger)
    parser = library.api.OnnxParserRefitter(refitter, logger)
    if parser.refit_from_bytes(model) and refitter.refit_cuda_engine():
        return
    said = [plain(text) for text in cast(Messages, logger).errors]
    said += [parser.get_error(number).desc() for number in range(parser.num_errors)]
    raise PlanInvalid(
        f"the weights do not fit the plan: {'; '.join(said) or 'no reason given'}; build it again"
    )
