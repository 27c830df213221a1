"""The part of the v2 protocol that the peers speak: one input `x`, one output `y`.

It checks nothing, so a peer that uses it does less than a server must.
"""

import os

import numpy as np
import orjson

HEAD = "Inference-Header-Content-Length"


def load_model():
    """The model of the environment as a function; the identity needs no engine."""
    path = os.environ["PEER_MODEL"]
    if path == "identity":
        return lambda x: x
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(["y"], {"x": x})[0]


def parse(body: bytes, head: str | None) -> np.ndarray:
    """The input of a request; `head`: the value of the header `HEAD`, for binary data."""
    if head is None:
        tensor = orjson.loads(body)["inputs"][0]
        return np.array(tensor["data"], np.float32).reshape(tensor["shape"])
    size = int(head)
    tensor = orjson.loads(body[:size])["inputs"][0]
    return np.frombuffer(body, np.float32, offset=size).reshape(tensor["shape"])


def answer(y: np.ndarray, *, binary: bool) -> tuple[bytes, str | None]:
    """The body of an answer, and the value of its header `HEAD`."""
    output = {"name": "y", "datatype": "FP32", "shape": y.shape}
    if not binary:
        output["data"] = y.reshape(-1)
        return orjson.dumps({"outputs": [output]}, option=orjson.OPT_SERIALIZE_NUMPY), None
    data = y.tobytes()
    output["parameters"] = {"binary_data_size": len(data)}
    text = orjson.dumps({"outputs": [output]})
    return text + data, str(len(text))
