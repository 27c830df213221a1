"""The pages of the server: dashboard, API reference, and the OpenAPI document behind it.

Static files come from a list that is made when the server starts. A path that is not in the list
is unknown, so no path of a client ever reaches the file system. The OpenAPI document is the data in
`openapi.json`, with the name and the version of the app filled in.
"""

from __future__ import annotations

import asyncio
import importlib.resources
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from enginecrate.errors import RouteUnknown
from enginecrate.manifest import Manifest
from enginecrate.server.http.compression import choose_coding, compress
from enginecrate.server.http.messages import Headers, Request, Response, etag, shown
from enginecrate.server.http.workers import Workers

__all__ = ["OpenApiRoute", "StaticRoutes", "openapi_document"]

_FOLDER = Path(__file__).parents[1] / "dashboard"

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}

_TEXT = ("text/", "application/json", "image/svg")

_SECURITY: Headers = (
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'",
    ),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-cache"),
)


@dataclass(slots=True)
class _Asset:
    body: bytes
    media_type: str
    tag: str
    gzipped: bytes | None = None


class StaticRoutes:
    """Handlers for the pages and what they load."""

    def __init__(self, workers: Workers, folder: Path = _FOLDER) -> None:
        self._workers = workers
        self._files = {
            file.relative_to(folder).as_posix(): file
            for file in folder.rglob("*")
            if file.suffix in _TYPES and file.is_file() and not file.name.startswith(".")
        }
        self._assets: dict[str, _Asset] = {}

    async def dashboard(self, request: Request) -> Response:
        """`/`."""
        return await self._serve(request, "index.html")

    async def docs(self, request: Request) -> Response:
        """`/docs`."""
        return await self._serve(request, "docs/index.html")

    async def favicon(self, request: Request) -> Response:
        """`/favicon.ico`, which browsers ask for unasked."""
        return await self._serve(request, "assets/favicon.svg")

    async def asset(self, request: Request) -> Response:
        """`/assets/...`."""
        return await self._serve(request, f"assets/{request.params['path']}")

    async def _serve(self, request: Request, name: str) -> Response:
        asset = self._asset(name)
        headers: Headers = (("content-type", asset.media_type), ("etag", asset.tag), *_SECURITY)
        if asset.tag in request.headers.get("if-none-match", ""):
            return Response(304, headers)
        compressible = asset.media_type.startswith(_TEXT) and len(asset.body) > 1024
        accept = request.headers.get("accept-encoding", "")
        if not compressible or choose_coding(accept, binary=False) != "gzip":
            return Response(200, headers, (asset.body,))
        if asset.gzipped is None:
            future = self._workers.submit(compress, [asset.body], "gzip")
            asset.gzipped = await asyncio.wrap_future(future)
        headers = (*headers, ("content-encoding", "gzip"), ("vary", "accept-encoding"))
        return Response(200, headers, (asset.gzipped,))

    def _asset(self, name: str) -> _Asset:
        if name not in self._files:
            raise RouteUnknown(f"there is no file {shown(name)}")
        if name not in self._assets:
            body = self._files[name].read_bytes()
            self._assets[name] = _Asset(body, _TYPES[Path(name).suffix], etag(body))
        return self._assets[name]


class OpenApiRoute:
    """Handler for the OpenAPI document of one app."""

    def __init__(self, manifest: Manifest) -> None:
        app = manifest.app
        self._document = openapi_document(
            app.name, app.version, app.summary, manifest.pipeline.task
        )

    async def document(self, request: Request) -> Response:
        """`/openapi.json`."""
        return Response(200, (("content-type", "application/json"),), (self._document,))


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
