"""A small registry that does what docker-registry 2.8 does not: referrers API, pages of tags,
uploads that go on in the middle of a piece, blobs that lie elsewhere; and the habits of registries
that cannot be run here, as public reports describe them (`HABITS`).

Source: OCI Distribution Specification 1.1.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"
_PAGE = 2


@dataclass
class ModernRegistry:
    """State and habits of a registry.

    redirect: another host that blobs are redirected to.
    answers: whole answers `(status, headers, body)` by `METHOD path`, instead of the right ones.
    whole_only: PATCH is refused.
    referrers_status: instead of the referrers API.
    tag_is_digest: `sha256-<hex>` names the manifest of that digest, unless it was written.
    immutable: status for a tag that would move, or be written again.
    piece_limit, request_limit: bytes of a PATCH, of any request; more is answered with 416.
    standing_count: `Range` always says the same. cut_at: of an upload; there the connection breaks.
    subject_status: for manifests with a subject.
    login, challenge: the header `Authorization` that is wanted, and what asks for it.
    seen: method, path and headers of each request.
    written: the tags in the order of their writing. received: bytes of all blobs.
    """

    address: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    redirect: str = ""
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    whole_only: bool = False
    referrers_status: int = 0
    tag_is_digest: bool = False
    immutable: int = 0
    piece_limit: int = 1 << 62
    request_limit: int = 1 << 62
    standing_count: bool = False
    cut_at: int = 1 << 62
    subject_status: int = 0
    login: str = ""
    challenge: str = 'Basic realm="test"'
    written: list[str] = field(default_factory=list)
    received: int = 0
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def methods(self) -> list[str]:
        return [method for method, _, _ in self.seen]


HABITS: dict[str, dict[str, Any]] = {
    "gitlab": {"referrers_status": 404, "tag_is_digest": True},
    "artifactory": {"referrers_status": 406},
    "quay": {"referrers_status": 400},
    "denying": {"referrers_status": 403},
    "unimplemented": {"referrers_status": 501},
    "harbor-immutable": {"referrers_status": 404, "immutable": 412},
    "ecr-immutable": {"referrers_status": 404, "immutable": 400},
    "hub-immutable": {"referrers_status": 404, "immutable": 403},
    "conflict-immutable": {"referrers_status": 404, "immutable": 409},
    "ghcr": {"referrers_status": 404, "piece_limit": 4 << 20},
    "small-requests": {"referrers_status": 404, "piece_limit": 4 << 20, "request_limit": 4 << 20},
    "ecr": {"standing_count": True},
    "no-subjects": {"referrers_status": 404, "subject_status": 405},
}
"""Registries by name. Each is simulated: docs/registry.md has the table."""


@contextmanager
def modern_registry(habits: str = "", **other: Any) -> Iterator[ModernRegistry]:
    """It runs on a free port of 127.0.0.1, over plain HTTP.

    habits: a name in `HABITS`. other: fields of `ModernRegistry`.
    """
    state = ModernRegistry(**HABITS.get(habits, {}), **other)

    class Handler(_Handler):
        registry = state

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state.address = f"127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield state
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    registry: ModernRegistry

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, *arguments: Any) -> None:
        pass

    def _serve(self) -> None:
        url = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(url.query).items()}
        self.registry.seen.append((self.command, self.path, dict(self.headers)))
        if self.registry.login and self.headers.get("Authorization") != self.registry.login:
            self._body()
            self._answer(401, headers={"WWW-Authenticate": self.registry.challenge})
            return
        planned = self.registry.answers.get(f"{self.command} {url.path}")
        if planned:
            self._body()
            self._answer(planned[0], planned[2], planned[1])
            return
        for pattern, serve in (
            (r"/v2/.+/blobs/uploads/(.*)", self._upload),
            (r"/(?:v2/.+/)?blobs/(sha256:\w+)", self._blob),
            (r"/v2/.+/manifests/(.+)", self._manifest),
            (r"/v2/.+/referrers/(.+)", self._referrers),
            (r"/v2/(.+)/tags/list", self._tags),
            (r"/v2/()", lambda _: self._answer(200)),
        ):
            found = re.fullmatch(pattern, url.path)
            if found:
                serve(found[1])
                return
        self._answer(404)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, body: bytes = b"", headers: Any = ()) -> None:
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        if "Content-Length" not in dict(headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _upload(self, session: str) -> None:
        uploads, here = self.registry.uploads, self.path.partition("/uploads/")[0]
        if self.command == "POST":
            session = f"s{len(uploads)}"
            uploads[session] = bytearray()
        data = uploads.get(session)
        if data is None:
            self._answer(404)
            return
        where = {"Location": f"{here}/uploads/{session}?state={len(data)}"}
        if self.command == "PATCH":
            begin = int(self.headers["Content-Range"].partition("-")[0])
            if self.registry.whole_only or begin != len(data):
                self._body()
                self._answer(416)
                return
        if self.command in ("PATCH", "PUT") and not self._take(data):
            return
        if self.command == "PUT":
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            right = digest == self.query["digest"]
            if right:
                self.registry.blobs[digest] = bytes(data)
            self._answer(201 if right else 400)
            return
        counted = 1 << 20 if self.registry.standing_count else len(data)
        where["Range"] = f"0-{max(counted - 1, 0)}"
        self._answer({"GET": 204, "DELETE": 204}.get(self.command, 202), headers=where)

    def _take(self, data: bytearray) -> bool:
        """Add the request's body to an upload; False: it was refused, and answered."""
        registry, left = self.registry, int(self.headers["Content-Length"])
        limit = registry.piece_limit if self.command == "PATCH" else registry.request_limit
        if left > min(limit, registry.request_limit):
            registry.received += len(self._body())
            self._answer(416, b'{"errors":[{"code":"BLOB_UPLOAD_INVALID"}]}')
            return False
        while left and (piece := self.rfile.read1(min(left, 1 << 16))):
            data += piece
            left -= len(piece)
            registry.received += len(piece)
            if len(data) > registry.cut_at:
                registry.cut_at = 1 << 62
                raise ConnectionAbortedError
        return True

    def _blob(self, digest: str) -> None:
        data = self.registry.blobs.get(digest)
        if data is None:
            self._answer(404)
        elif self.registry.redirect and self.command == "GET":
            self._answer(307, headers={"Location": f"{self.registry.redirect}/blobs/{digest}"})
        else:
            self._answer(200, data)

    def _manifest(self, reference: str) -> None:
        registry = self.registry
        if self.command == "PUT":
            data = self._body()
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            subject = json.loads(data).get("subject")
            if subject and registry.subject_status:
                self._answer(registry.subject_status, b'{"errors":[{"code":"UNSUPPORTED"}]}')
                return
            if ":" not in reference:
                if registry.immutable and reference in registry.tags:
                    self._answer(registry.immutable, b'{"errors":[{"code":"TAG_INVALID"}]}')
                    return
                registry.tags[reference] = digest
                registry.written.append(reference)
            registry.manifests[digest] = (self.headers["Content-Type"], data)
            headers = {"Docker-Content-Digest": digest}
            if subject and not registry.referrers_status:
                headers["OCI-Subject"] = subject["digest"]
            self._answer(201, headers=headers)
            return
        named = registry.tags.get(reference, reference)
        if registry.tag_is_digest and named.startswith("sha256-"):
            named = named.replace("-", ":")
        found = registry.manifests.get(named)
        if found is None:
            self._answer(404)
        else:
            self._answer(200, found[1], {"Content-Type": found[0]})

    def _referrers(self, subject: str) -> None:
        if self.registry.referrers_status:
            self._answer(self.registry.referrers_status)
            return
        listed = []
        for digest, (media_type, data) in self.registry.manifests.items():
            document = json.loads(data)
            if (document.get("subject") or {}).get("digest") == subject:
                listed.append({
                    "mediaType": media_type, "digest": digest, "size": len(data),
                    "artifactType": document.get("artifactType", ""),
                    "annotations": document.get("annotations", {}),
                })  # fmt: skip
        start = int(self.query.get("start", 0))
        headers = {"Content-Type": INDEX}
        if len(listed) > start + 1:  # one a page
            headers["Link"] = f'<{urlsplit(self.path).path}?start={start + 1}>; rel="next"'
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed[start : start + 1]}
        self._answer(200, json.dumps(index).encode(), headers)

    def _tags(self, name: str) -> None:
        names = sorted(self.registry.tags)
        start = names.index(self.query["last"]) + 1 if "last" in self.query else 0
        page, headers = names[start : start + _PAGE], {}
        if start + _PAGE < len(names):
            headers["Link"] = f'</v2/{name}/tags/list?last={page[-1]}&n={_PAGE}>; rel="next"'
        self._answer(200, json.dumps({"name": name, "tags": page}).encode(), headers)
