"""The v2 protocol against a real server, with the field's own client."""

import json
import math
import re

import httpx
import numpy as np
import pytest
import tritonclient.http
from tritonclient.utils import InferenceServerException

INPUTS = {
    "FP32": np.array([[1.5, -2, 3]], np.float32),
    "FP16": np.array([[0.5, 1, 2]], np.float16),
    "INT64": np.array([[-(2**62), 0, 2**62]], np.int64),
    "UINT8": np.array([[0, 128, 255]], np.uint8),
    "BOOL": np.array([[True, False, True]]),
    "BYTES": np.array([[b"", "\N{SNOWMAN}".encode(), b"abc"]], dtype=object),
}


@pytest.fixture
def triton(tiny_server):
    client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{tiny_server.port}")
    yield client
    client.close()


def infer_inputs(*, binary: bool, batch: int = 1):
    made = []
    for name, array in INPUTS.items():
        data = np.repeat(array, batch, axis=0)
        one = tritonclient.http.InferInput(name, list(data.shape), name)
        one.set_data_from_numpy(data, binary_data=binary)
        made.append(one)
    return made


def check(result, batch: int = 1) -> None:
    for name, array in INPUTS.items():
        found = result.as_numpy(f"out_{name}")
        if name == "BYTES" and found.size and isinstance(found.flat[0], str):
            found = np.array([text.encode() for text in found.flat], object).reshape(found.shape)
        assert found.tolist() == np.repeat(array, batch, axis=0).tolist(), name
    assert result.as_numpy("double").tolist() == (INPUTS["FP32"] * 2).tolist() * batch


def test_tritonclient_asks_for_health_and_metadata(triton):
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("tiny")
    assert triton.is_model_ready("tiny", "1.2.3")
    assert not triton.is_model_ready("tiny", "9")
    assert not triton.is_model_ready("other")
    server = triton.get_server_metadata()
    assert server["name"] == "enginecrate"
    assert set(server["extensions"]) == {
        "binary_tensor_data", "classification", "model_configuration", "statistics"
    }  # fmt: skip
    model = triton.get_model_metadata("tiny")
    assert (model["name"], model["versions"]) == ("tiny", ["1.2.3"])
    assert model["inputs"][0] == {"name": "FP32", "datatype": "FP32", "shape": [-1, 3]}
    assert {output["name"] for output in model["outputs"]} == {f"out_{n}" for n in INPUTS} | {
        "double"
    }
    parameters = model["parameters"]
    assert re.fullmatch(r"[0-9a-f]{12}", parameters.pop("plan"))
    assert parameters == {"golden": "unproven", "engine": "onnxruntime fp32 cpu"}
    config = triton.get_model_config("tiny", "1.2.3")
    assert config["max_batch_size"] == 32
    assert config["input"][0] == {"name": "FP32", "data_type": "TYPE_FP32", "dims": [3]}
    assert config["input"][-1]["data_type"] == "TYPE_STRING"
    assert config["model_transaction_policy"] == {"decoupled": False}


@pytest.mark.parametrize("binary_inputs", [True, False])
@pytest.mark.parametrize("binary_outputs", [True, False])
def test_tritonclient_infers_every_datatype(triton, binary_inputs, binary_outputs):
    outputs = [
        tritonclient.http.InferRequestedOutput(name, binary_data=binary_outputs)
        for name in [*(f"out_{name}" for name in INPUTS), "double"]
    ]
    result = triton.infer(
        "tiny", infer_inputs(binary=binary_inputs), outputs=outputs, request_id="seven"
    )
    check(result)
    response = result.get_response()
    assert (response["model_name"], response["model_version"]) == ("tiny", "1.2.3")
    assert response["parameters"]["engine"] == "onnxruntime fp32 cpu"
    assert response["parameters"]["plan"] == triton.get_model_metadata("tiny")["parameters"]["plan"]
    assert response["id"] == "seven"


@pytest.mark.parametrize("request_coding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("response_coding", [None, "gzip", "deflate"])
def test_tritonclient_compresses_both_ways(triton, request_coding, response_coding):
    result = triton.infer(
        "tiny",
        infer_inputs(binary=True, batch=20),
        request_compression_algorithm=request_coding,
        response_compression_algorithm=response_coding,
    )
    check(result, batch=20)


def test_tritonclient_chooses_outputs(triton):
    outputs = [
        tritonclient.http.InferRequestedOutput("double", binary_data=False),
        tritonclient.http.InferRequestedOutput("out_FP32", class_count=2),
    ]
    result = triton.infer("tiny", infer_inputs(binary=True), outputs=outputs)
    assert result.as_numpy("double").tolist() == [[3, -4, 6]]
    assert result.as_numpy("out_FP32").tolist() == [[b"3.000000:2", b"1.500000:0"]]
    assert result.as_numpy("out_INT64") is None


def test_not_finite_numbers_pass_through_in_binary(triton):
    inputs = infer_inputs(binary=True)
    inputs[0].set_data_from_numpy(np.array([[math.nan, math.inf, -math.inf]], np.float32))
    found = triton.infer("tiny", inputs).as_numpy("double")
    np.testing.assert_array_equal(found, [[math.nan, math.inf, -math.inf]])


def test_tritonclient_reads_our_errors(triton):
    with pytest.raises(InferenceServerException, match="input 'FP16' is missing"):
        triton.infer("tiny", infer_inputs(binary=True)[:1])
    with pytest.raises(InferenceServerException, match="there is no model 'other'"):
        triton.infer("other", infer_inputs(binary=True))


def test_statistics_and_metrics_count(tiny_server, triton):
    def numbers():
        entry = triton.get_inference_statistics("tiny")["model_stats"][0]
        with tiny_server.client() as client:
            lines = client.get("/metrics").text.splitlines()
        counted = {
            line.partition("{")[0]: float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith("nv_inference_") and "_bucket" not in line and "reason" not in line
        }
        return entry, counted

    before, metrics_before = numbers()
    triton.infer("tiny", infer_inputs(binary=True, batch=5))
    after, metrics_after = numbers()
    assert after["inference_count"] - before["inference_count"] == 5
    assert after["execution_count"] - before["execution_count"] == 1
    for part in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        stats = after["inference_stats"][part]
        assert stats["count"] - before["inference_stats"][part]["count"] == 1
        assert stats["ns"] >= before["inference_stats"][part]["ns"]
    assert after["inference_stats"]["cache_hit"] == {"count": 0, "ns": 0}
    assert {entry["batch_size"] for entry in after["batch_stats"]} >= {5}
    grown = {name: metrics_after[name] - metrics_before[name] for name in metrics_after}
    assert grown["nv_inference_request_success"] == 1
    assert grown["nv_inference_count"] == 5
    assert grown["nv_inference_exec_count"] == 1
    assert grown["nv_inference_request_duration_histogram_us_count"] == 1


def test_all_models_statistics_and_list(tiny_server):
    with tiny_server.client() as client:
        assert client.get("/v2/models").json() == {"models": ["tiny"]}
        assert client.get("/v2/models/stats").json()["model_stats"][0]["name"] == "tiny"


def test_health_bodies(tiny_server):
    with tiny_server.client() as client:
        assert client.get("/v2/health/live").json() == {"live": True}
        ready = client.get("/v2/health/ready")
        body = ready.json()
        assert body["engine"].pop("plan") == client.get("/v1/status").json()["engine"]["plan"]
        assert body["ladder"].pop("origin") in ("built here", "cached")  # the cache is shared
        assert body == {
            "ready": True, "state": "ready", "golden": "unproven",
            "engine": {"backend": "onnxruntime", "precision": "fp32", "device": "cpu"},
            "ladder": {"rung": 1, "rungs": 1, "building": None, "failed": []},
        }  # fmt: skip
        assert client.get("/v2/models/tiny/ready").json()["name"] == "tiny"


def test_a_raw_body_needs_a_single_input(tiny_server):
    with tiny_server.client() as client:
        answer = client.post(
            "/v2/models/tiny/infer", content=b"x", headers={"Inference-Header-Content-Length": "0"}
        )
    assert answer.status_code == 400
    assert "the model has 6" in answer.json()["error"]


def test_the_c_client_always_sends_the_header_length(tiny_server):
    body = json.dumps({
        "inputs": [
            {"name": name, "shape": [1, 3], "datatype": name, "data": [
                value.decode() if isinstance(value, bytes) else value for value in array[0].tolist()
            ]}
            for name, array in INPUTS.items()
        ]
    }).encode()  # fmt: skip
    headers = {"Inference-Header-Content-Length": str(len(body))}
    with tiny_server.client() as client:
        answer = client.post("/v2/models/tiny/versions/1.2.3/infer", content=body, headers=headers)
    assert answer.status_code == 200
    assert "inference-header-content-length" not in answer.headers
    outputs = {output["name"]: output for output in answer.json()["outputs"]}
    assert outputs["double"] == {
        "name": "double", "datatype": "FP32", "shape": [1, 3], "data": [3.0, -4.0, 6.0]
    }  # fmt: skip


def test_large_json_goes_both_ways(tiny_server):
    """More than is parsed in the event loop, in the largest batch."""
    rows = 32
    inputs = []
    for name, array in INPUTS.items():
        values = [v.decode() if isinstance(v, bytes) else v for v in array[0].tolist()]
        if name == "BYTES":
            values = ["long " * 100, *values[1:]]
        inputs.append({"name": name, "shape": [rows, 3], "datatype": name, "data": [values] * rows})
    with tiny_server.client() as client:
        answer = client.post("/v2/models/tiny/infer", json={"inputs": inputs})
    assert answer.status_code == 200
    assert answer.headers["content-encoding"] == "gzip"
    outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
    assert outputs["out_BYTES"][3] == "long " * 100
    assert outputs["double"] == [3.0, -4.0, 6.0] * rows


def test_a_request_of_its_own_short_time_is_given_up(tiny_server):
    inputs = [
        {"name": name, "shape": [1, 3], "datatype": name, "data": [
            value.decode() if isinstance(value, bytes) else value for value in array[0].tolist()
        ]}
        for name, array in INPUTS.items()
    ]  # fmt: skip
    with tiny_server.client() as client:
        answer = client.post(
            "/v2/models/tiny/infer", json={"inputs": inputs, "parameters": {"timeout": 1}}
        )
    assert answer.status_code == 503
    assert "timeout of 1 us" in answer.json()["error"]


def test_head_and_wrong_methods(tiny_server):
    with tiny_server.client() as client:
        head = client.head("/v2/health/ready")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) > 0
        wrong = client.put("/v2/models/tiny")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")
        assert wrong.json() == {"error": "'/v2/models/tiny' does not take 'PUT'; use GET, HEAD"}
        problem = client.get("/v1/predict")
        assert (problem.status_code, problem.headers["allow"]) == (405, "POST")
        assert problem.headers["content-type"] == "application/problem+json"
        assert problem.json()["code"] == "EC1608"
        assert problem.json()["request_id"] == problem.headers["x-request-id"]
        assert client.head("/v1/predict").content == b""
        assert client.options("/v2").status_code == 405


def test_the_request_id_is_echoed_only_when_it_is_sane(tiny_server):
    with tiny_server.client() as client:
        sane = client.get("/v2", headers={"X-Request-Id": "order-66:a/b"})
        assert sane.headers["x-request-id"] == "order-66:a/b"
        for odd in ("a b", "x" * 129, "<script>", ""):
            answered = client.get("/v2", headers={"X-Request-Id": odd}).headers["x-request-id"]
            assert len(answered) == 32
            assert answered != odd


def test_an_encoded_slash_parts_nothing(tiny_server):
    with tiny_server.client() as client:
        answer = client.get("/v2/models/tiny%2Fready")
        assert answer.status_code == 404
        assert "there is no model 'tiny/ready'" in answer.json()["error"]
        assert client.get("/v2/models/t%69ny").status_code == 200


def test_binary_answers_are_compressed_only_on_explicit_wish(tiny_server):
    batch = 30
    parts = [
        np.repeat(INPUTS[name], batch, axis=0)
        for name in ("FP32", "FP16", "INT64", "UINT8", "BOOL")
    ]
    inputs = [
        {
            "name": name,
            "shape": [batch, 3],
            "datatype": name,
            "parameters": {"binary_data_size": a.nbytes},
        }
        for name, a in zip(("FP32", "FP16", "INT64", "UINT8", "BOOL"), parts, strict=True)
    ]
    inputs.append({"name": "BYTES", "shape": [batch, 3], "datatype": "BYTES", "data": ["a"] * 90})
    header = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    body = header + b"".join(part.tobytes() for part in parts)

    def ask(accept: str) -> httpx.Response:
        return client.post(
            "/v2/models/tiny/infer", content=body,
            headers={
                "Inference-Header-Content-Length": str(len(header)), "Accept-Encoding": accept
            },
        )  # fmt: skip

    with tiny_server.client() as client:
        assert ask("gzip").headers["content-encoding"] == "gzip"
        assert ask("deflate").headers["content-encoding"] == "deflate"
        assert "content-encoding" not in ask("gzip, deflate, br").headers
        assert "content-encoding" not in ask("identity").headers
        assert "content-encoding" not in ask("gzip;q=0").headers
        assert ask("gzip").content == ask("identity").content
