"""The OpenAPI document: data in `openapi.json`, with the name and version of the app filled in."""

from __future__ import annotations

import importlib.resources
from typing import Any

import msgspec

__all__ = ["openapi_document"]


def openapi_document(app: str, version: str, summary: str = "", task: str = "detection") -> bytes:
    """The document as JSON (OpenAPI 3.1).

    Args:
        app: the app's name, which is also the model's name in v2 paths.
        version: the app's version.
        summary: one sentence about the app; may be empty.
        task: the answers shown as examples are those of this task, where there are such.
    """
    data = importlib.resources.files("enginecrate.server").joinpath("openapi.json").read_bytes()
    document: dict[str, Any] = _fill(
        msgspec.json.decode(data), {"$app": app, "$version": version, "$summary": summary}
    )
    if not summary:
        del document["info"]["summary"]
    _keep_examples(document["paths"]["/v1/predict"]["post"], task)
    return msgspec.json.encode(document)


def _fill(node: Any, words: dict[str, str]) -> Any:
    """A copy with every placeholder replaced. Keys stay: `$ref` is one."""
    if isinstance(node, dict):
        return {key: _fill(value, words) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill(value, words) for value in node]
    if isinstance(node, str):
        for placeholder, word in words.items():
            node = node.replace(placeholder, word)
    return node


def _keep_examples(operation: dict[str, Any], task: str) -> None:
    answer = operation["responses"]["200"]["content"]["application/json"]
    if task in answer["examples"]:
        answer["examples"] = {task: answer["examples"][task]}
