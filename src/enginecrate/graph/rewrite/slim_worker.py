"""Run onnxslim in a process of its own: a model on standard input, the slimmer one on output.

onnxslim adds log handlers, sets onnxruntime's log level and keeps its settings in globals, and
hash order may show in what it writes. In a process of its own, with a fixed hash seed, none of
this reaches the caller, and the same model gives the same bytes.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Read, slim, write. A failure is a traceback on standard error and exit status 1."""
    # Whatever the library prints must not mix with the model on standard output.
    with os.fdopen(os.dup(1), "wb") as output:
        os.dup2(2, 1)
        data = sys.stdin.buffer.read()

        import onnx
        import onnxslim  # type: ignore[import-untyped]

        proto = onnx.ModelProto.FromString(data)
        output.write(onnxslim.slim(proto).SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
