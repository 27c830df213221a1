"""Referrers of a manifest: by the registry's API, or by the fallback tag.

Source: OCI Distribution Specification 1.1, "Listing Referrers" and "Referrers Tag Schema".
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from enginecrate.errors import ImageInvalid, ImageNotFound, RegistryUnavailable
from enginecrate.image.formats.oci import INDEX, Descriptor, ImageIndex, decode, encode
from enginecrate.image.transports.documents import INDEX_TYPES, MAX_MANIFEST
from enginecrate.image.transports.registry.responses import Answer, error_for, pages
from enginecrate.values import Digest

__all__ = ["Referrers"]

_EMPTY_LIST = b'{"manifests":[],"mediaType":"' + INDEX.encode() + b'","schemaVersion":2}'
_NO_API = frozenset({404, 405, 406, 501})
"""Answers of a registry, or of the proxy before it, that has no such API."""
_WRITES = 5
"""Tries to get an entry into a fallback tag that others write at the same time."""
_Get = Callable[[str, dict[str, str], int], Answer]
"""`get(path, headers, limit)`: a path below the repository."""


class _Manifests(Protocol):
    """The part of a repository that is needed here."""

    @property
    def name(self) -> str: ...

    def fetch_manifest(self, reference: str) -> tuple[Descriptor, bytes]: ...

    def put_manifest(self, data: bytes, media_type: str, reference: str) -> Answer: ...


def _fallback_tag(subject: Digest) -> str:
    """The tag of the list of referrers where the registry keeps none."""
    return f"sha256-{subject.hex}"


class Referrers:
    """The lists of referrers of one repository."""

    def __init__(self, repository: _Manifests, get: _Get) -> None:
        self._repository, self._get = repository, get
        self._has_api: bool | None = None
        self._lock = threading.Lock()
        self._waiting: dict[Digest, dict[str, Descriptor]] | None = None

    def of(self, subject: Digest, artifact_type: str) -> Sequence[Descriptor]:
        """The referrers by digest; none when nothing is attached, or the subject is unknown."""
        listed: Sequence[Descriptor] | None = None
        if self._has_api is not False:
            listed = self._from_api(subject, artifact_type)
        if listed is None:
            listed = decode(self._fallback(subject), ImageIndex, _fallback_tag(subject)).manifests
        listed = [*listed, *(self._waiting or {}).get(subject, {}).values()]
        chosen = {one.digest: one for one in listed if artifact_type in ("", one.artifact_type)}
        return [chosen[digest] for digest in sorted(chosen)]

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Within the block, entries wait for its end, where each list is written once.

        A block that fails writes nothing: a tag that cannot be overwritten would stay incomplete.
        """
        if self._waiting is not None:
            yield
            return
        self._waiting = {}
        try:
            yield
            with self._lock:
                for subject, entries in self._waiting.items():
                    self._write(subject, entries)
        finally:
            self._waiting = None

    def add(self, subject: Digest, entry: Descriptor) -> None:
        """Put an entry into the fallback tag, now or at the end of the block around."""
        with self._lock:
            if self._waiting is None:
                self._write(subject, {entry.digest: entry})
            else:
                self._waiting.setdefault(subject, {})[entry.digest] = entry

    def _write(self, subject: Digest, entries: dict[str, Descriptor]) -> None:
        """Put entries into the fallback tag; those of others stay as they are.

        Registries know no locks: it is read back, and written again when another's writing came
        between. One writer at a time is what the specification asks for.
        """
        tag = _fallback_tag(subject)
        for _ in range(_WRITES):
            document = _load(self._fallback(subject), tag)
            there = {one.get("digest") for one in document["manifests"]}
            missing = [one for digest, one in entries.items() if digest not in there]
            if not missing:
                return
            document["manifests"] += [msgspec.json.decode(encode(entry)) for entry in missing]
            data = msgspec.json.encode(document, order="sorted")
            self._repository.put_manifest(data, INDEX, tag)
        raise RegistryUnavailable(
            f"{self._repository.name}: the list of referrers {tag} does not keep what is written; "
            "another program writes it all the time, or the registry takes that tag for the image: "
            "try again later, or leave attachments out with --no-referrers"
        )

    def _fallback(self, subject: Digest) -> bytes:
        try:
            descriptor, data = self._repository.fetch_manifest(_fallback_tag(subject))
        except ImageNotFound:
            return _EMPTY_LIST
        if descriptor.digest == subject:
            return _EMPTY_LIST  # GitLab takes such a tag for the digest
        if descriptor.media_type not in INDEX_TYPES:
            raise ImageInvalid(
                f"{self._repository.name}:{_fallback_tag(subject)} should list referrers, but is "
                "an image; remove that tag"
            )
        return data

    def _from_api(self, subject: Digest, artifact_type: str) -> list[Descriptor] | None:
        """The referrers by the API; None: the registry has none, or it does not answer this."""
        path = f"referrers/{subject}"
        if artifact_type:
            path += f"?artifactType={quote(artifact_type, safe='')}"
        entries: list[Descriptor] = []
        for answer in self._pages(path):
            kind = answer.headers.get("content-type", "").partition(";")[0].strip()
            if answer.status in _NO_API or (answer.status == 200 and kind not in INDEX_TYPES):
                self._has_api = False
                return None
            if answer.status == 401:
                raise error_for(answer, f"cannot list what is attached to {subject}")
            if answer.status != 200:  # it may be about this image alone
                return None
            self._has_api = True
            entries += decode(answer.body, ImageIndex, f"the referrers of {subject}").manifests
        return entries

    def _pages(self, path: str) -> Iterator[Answer]:
        return pages(lambda where: self._get(where, {"Accept": INDEX}, MAX_MANIFEST), path)


def _load(data: bytes, where: str) -> dict[str, Any]:
    """The list as it is, also with keys that we do not know."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = None
    entries = document.get("manifests") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise ImageInvalid(f"{where} is not a list of referrers; remove that tag")
    return dict(document)
