"""PyTriton: Triton's own HTTP server with its Python backend."""

import sys

import numpy as np
import v2
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

run = v2.load_model()
SHAPE = tuple(int(size) for size in sys.argv[2].split(","))
OUTPUT = tuple(int(size) for size in sys.argv[3].split(","))


@batch
def infer(x: np.ndarray) -> dict[str, np.ndarray]:
    """Answer a batch."""
    return {"y": run(x)}


config = TritonConfig(
    http_port=int(sys.argv[1]), http_address="127.0.0.1", allow_grpc=False, allow_metrics=False,
    http_thread_count=1,
)  # fmt: skip
with Triton(config=config) as triton:
    triton.bind(
        model_name="m",
        infer_func=infer,
        inputs=[Tensor(name="x", dtype=np.float32, shape=SHAPE)],
        outputs=[Tensor(name="y", dtype=np.float32, shape=OUTPUT)],
        config=ModelConfig(
            max_batch_size=8, batcher=DynamicBatcher(max_queue_delay_microseconds=0)
        ),
        strict=False,
    )
    triton.serve()
