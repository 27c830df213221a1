"""mosec: one worker process behind its Rust front end, one by one or in batches.

A worker of mosec sees no HTTP headers, so the end of the JSON in a binary request is found by the
parameter that closes it.
"""

import os
import sys

import numpy as np
import v2
from mosec import Runtime, Server, Worker

BATCH = int(os.environ["PEER_BATCH"])


class Json(Worker):
    """JSON in, JSON out."""

    def __init__(self) -> None:
        super().__init__()
        self.run = v2.load_model()

    def deserialize(self, data: bytes) -> np.ndarray:
        return v2.parse(data, None)

    def serialize(self, data: np.ndarray) -> bytes:
        return v2.answer(data, binary=False)[0]

    def forward(self, data):
        if BATCH == 1:
            return self.run(data)
        return np.split(self.run(np.concatenate(data)), len(data))


class Binary(Json):
    """The extension "binary tensor data"."""

    def deserialize(self, data: bytes) -> np.ndarray:
        size = data.index(b'"binary_data_output":true}}') + 27
        return v2.parse(data, str(size))

    def serialize(self, data: np.ndarray) -> bytes:
        return v2.answer(data, binary=True)[0]


if __name__ == "__main__":
    worker = Binary if os.environ["PEER_BINARY"] else Json
    sys.argv = ["mosec", "--port", sys.argv[1], "--address", "127.0.0.1", "--log-level", "warning"]
    server = Server()
    server.register_runtime(
        {"/v2/models/m/infer": [Runtime(worker, num=1, max_batch_size=BATCH, max_wait_time=1)]}
    )
    server.run()
