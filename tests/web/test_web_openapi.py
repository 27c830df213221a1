"""The OpenAPI document: valid, complete, and true."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
from openapi_spec_validator import validate

from enginecrate.manifest import load_manifest
from enginecrate.server.api.pages import openapi_document
from enginecrate.server.decoding.decoding import Decoding
from enginecrate.server.http.workers import Workers
from enginecrate.server.memory.budget import MemoryBudget
from enginecrate.server.model.served_model import ServedModel
from enginecrate.server.reload import LiveSettings
from enginecrate.server.routes import make_routes
from enginecrate.settings import load_settings

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
OF_PAGES = {"/", "/docs", "/openapi.json", "/favicon.ico", "/assets/{}"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return json.loads(openapi_document("my-app", "3.2.1", 'Finds "things"', "detection"))


def assert_fits(value: Any, schema: str, document: dict[str, Any]) -> None:
    whole = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


def test_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)
    assert document["info"]["title"] == "my-app"
    assert document["info"]["version"] == "3.2.1"
    assert document["info"]["summary"] == 'Finds "things"'
    assert not re.search(r"\$(app|version|summary)", json.dumps(document))


def test_summary_may_be_missing() -> None:
    plain = json.loads(openapi_document("my-app", "1"))
    validate(plain)
    assert "summary" not in plain["info"]


def bodies(node: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Every (media type object, example) below a node."""
    if isinstance(node, list):
        for value in node:
            yield from bodies(value)
    if not isinstance(node, dict):
        return
    if "schema" in node and "example" in node:
        yield node["schema"], node["example"]
    if "schema" in node and "examples" in node:
        yield from ((node["schema"], example["value"]) for example in node["examples"].values())
    for value in node.values():
        yield from bodies(value)


def test_examples_fit_their_schemas(document: dict[str, Any]) -> None:
    found = list(bodies([document["paths"], document["components"]]))
    assert len(found) > 20
    for schema, example in found:
        whole = {**schema, "components": document["components"]}
        jsonschema.Draft202012Validator(whole).validate(example)


@pytest.mark.parametrize("task", ["detection", "classification"])
def test_examples_follow_the_task(task: str) -> None:
    operation = json.loads(openapi_document("a", "1", task=task))["paths"]["/v1/predict"]["post"]
    assert list(operation["responses"]["200"]["content"]["application/json"]["examples"]) == [task]


def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    ids = [
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
        if isinstance(operation, dict)
    ]
    assert len(ids) == len(set(ids))


def erased(pattern: str) -> str:
    """A path without its parameters' names."""
    return re.sub(r"\{[^}]*\}", "{}", pattern)


def test_document_and_route_table_name_the_same_routes(document: dict[str, Any]) -> None:
    model = ServedModel(load_manifest(SAMPLES / "detection").manifest)
    workers = Workers(1, max_pending=1)
    decoding = Decoding(workers, MemoryBudget(), max_pending=1, seconds=1)
    table = make_routes(model, decoding, LiveSettings(load_settings(environment={})))
    decoding.close()
    workers.close()
    served = {(route.method, erased(route.pattern)) for route in table.routes}
    documented = {
        (method.upper(), erased(path))
        for path, item in document["paths"].items()
        for method in item
        if method != "parameters"
    }
    assert {(method, path) for method, path in served if path not in OF_PAGES} == documented


def test_served_document_is_this_one(detection_url: str) -> None:
    manifest = load_manifest(SAMPLES / "detection").manifest
    app, task = manifest.app, manifest.pipeline.task
    answer = httpx.get(f"{detection_url}/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.content == openapi_document(app.name, app.version, app.summary, task)


MODEL = "/v2/models/photo-detector"


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/v1/status", "Status"),
        ("/v2", "ServerMetadata"),
        ("/v2/health/live", "Live"),
        ("/v2/health/ready", "Ready"),
        ("/v2/models/stats", "Statistics"),
        (MODEL, "ModelMetadata"),
        (f"{MODEL}/versions/1.0.0", "ModelMetadata"),
        (f"{MODEL}/ready", "Ready"),
        (f"{MODEL}/config", "ModelConfig"),
        (f"{MODEL}/stats", "Statistics"),
        ("/v1/nothing", "Problem"),
        ("/v2/models/other", "V2Error"),
    ],
)
def test_answers_are_as_documented(
    path: str, schema: str, detection_url: str, document: dict[str, Any]
) -> None:
    assert_fits(httpx.get(detection_url + path).json(), schema, document)


def test_predictions_are_as_documented(
    detection_url: str, classification_url: str, photos: Path, document: dict[str, Any]
) -> None:
    photo = (photos / "coffee.png").read_bytes()
    example = document["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    for url, key in ((detection_url, "detections"), (classification_url, "classes")):
        for sent in (
            {"content": photo},
            {"files": {"image": ("coffee.png", photo)}},
            {"json": example["application/json"]["example"]},
        ):
            answer = httpx.post(f"{url}/v1/predict", **sent)
            assert answer.status_code == 200, answer.text
            assert_fits(answer.json(), "PredictAnswer", document)
            assert key in answer.json()["results"][0]
    wrong = httpx.post(f"{detection_url}/v1/predict", content=b"text")
    assert wrong.headers["content-type"] == "application/problem+json"
    assert_fits(wrong.json(), "Problem", document)


def test_inference_is_as_documented(tensors_url: str, document: dict[str, Any]) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
    sent = {"id": "7", "inputs": [tensor], "outputs": [{"name": "y"}]}
    assert_fits(sent, "InferRequest", document)
    answer = httpx.post(f"{tensors_url}/v2/models/doubler/infer", json=sent).json()
    assert_fits(answer, "InferResponse", document)
    assert answer["outputs"][0]["data"] == [2, 4, 6]


def test_tensors_can_be_predicted_as_documented(tensors_url: str, document: dict[str, Any]) -> None:
    archive = io.BytesIO()
    np.savez(archive, x=np.ones((1, 3), np.float32))
    headers = {"Content-Type": "application/octet-stream"}
    url = f"{tensors_url}/v1/predict"
    answer = httpx.post(url, content=archive.getvalue(), headers=headers).json()
    assert_fits(answer, "PredictAnswer", document)
    assert answer["results"][0]["outputs"][0]["data"] == [2, 2, 2]
