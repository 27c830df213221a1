"""onnxruntime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from enginecrate.engines.check import check_inputs
from enginecrate.engines.onnxruntime.runtime import out_of_memory, plain_message
from enginecrate.engines.onnxruntime.string_tensors import decode_texts, encode_texts
from enginecrate.errors import EngineOutOfMemory, EngineRunFailed
from enginecrate.values import DataType, Tensors, TensorSpec

__all__ = ["OnnxRuntimeEngine"]


class OnnxRuntimeEngine:
    """A loaded plan. Thread-safe: `run` may be called from many threads, and frees the GIL."""

    thread_safe = True

    def __init__(
        self,
        session: Any,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        max_batch: int,
    ) -> None:
        self.inputs: Sequence[TensorSpec] = tuple(inputs)
        self.outputs: Sequence[TensorSpec] = tuple(outputs)
        self.max_batch = max_batch
        # The session's own method looks at every value again: a tenth of a small request's time.
        self._session = getattr(session, "_sess", session)
        self._names = [spec.name for spec in outputs]
        self._texts = [spec.name for spec in inputs if spec.datatype is DataType.BYTES]

    def run(self, inputs: Tensors) -> Tensors:
        session = self._session
        if session is None:
            raise EngineRunFailed("the engine is closed; load its plan again")
        check_inputs(self.inputs, inputs, self.max_batch)
        feed = dict(inputs)
        for name in self._texts:
            feed[name] = decode_texts(name, inputs[name])
        try:
            found = session.run(self._names, feed, None)
        except UnicodeDecodeError as exc:
            raise EngineRunFailed(
                "the model answered a text that is not UTF-8, which onnxruntime cannot hand over; "
                "let the model answer UINT8 or base64"
            ) from exc
        except Exception as exc:  # onnxruntime's errors have no common base class
            if out_of_memory(exc):
                raise EngineOutOfMemory(
                    f"the memory does not suffice for a run: {plain_message(exc)}; use smaller "
                    "batches or fewer instances, or give the server more memory"
                ) from exc
            raise EngineRunFailed(f"onnxruntime failed while it ran: {plain_message(exc)}") from exc
        return {
            spec.name: encode_texts(array) if spec.datatype is DataType.BYTES else array
            for spec, array in zip(self.outputs, found, strict=True)
        }

    def close(self) -> None:
        self._session = None
