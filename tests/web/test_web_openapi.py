"""The OpenAPI document: valid, complete, and true."""

from __future__ import annotations

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

from enginecrate.server.openapi import openapi_document

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
