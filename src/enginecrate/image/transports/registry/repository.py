"""A repository of a registry as an `ImageTarget`.

Source: OCI Distribution Specification 1.1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial

import msgspec

from enginecrate.errors import (
    BlobCorrupt,
    ImageError,
    ImageInvalid,
    ImageNotFound,
    RegistryDenied,
    TagTaken,
)
from enginecrate.http_client import UrlInvalid
from enginecrate.image.formats.oci import Descriptor, digest_of
from enginecrate.image.transports.documents import (
    MANIFEST_TYPES,
    MAX_MANIFEST,
    media_type_of,
    parse,
    referrer_entry,
    subject_of,
)
from enginecrate.image.transports.registry.client import Call, Connection
from enginecrate.image.transports.registry.credentials import find_credentials
from enginecrate.image.transports.registry.download import download
from enginecrate.image.transports.registry.options import RegistryOptions, repository_path
from enginecrate.image.transports.registry.referrers import Referrers
from enginecrate.image.transports.registry.responses import Answer, error_for, pages
from enginecrate.image.transports.registry.upload import Upload
from enginecrate.image.transports.tags import is_shared_tag
from enginecrate.values import Digest, ImageRef

__all__ = ["Repository"]

_TAG_REFUSALS = frozenset({400, 403, 405, 409, 412, 422})
_SUBJECT_REFUSALS = frozenset({400, 405, 415, 422, 501})
_KEPT_MANIFESTS = 64
_KEPT_SIZE = 256 << 10


class _TagList(msgspec.Struct):
    tags: list[str] | None = None


class Repository:
    """Images, artifacts and blobs under one name. Thread-safe.

    Args:
        reference: names registry and repository; its tag and digest do not matter here.
        options: trust, retries and sizes.
        write: asks for the right to push, too.
    """

    def __init__(
        self,
        reference: ImageRef,
        options: RegistryOptions | None = None,
        *,
        write: bool = False,
    ) -> None:
        self.reference = ImageRef(reference.registry, reference.repository)
        self._path = repository_path(reference.registry, reference.repository)
        find = partial(find_credentials, reference.registry, self._path)
        self._connection = Connection(reference.registry, find, options or RegistryOptions())
        actions = "pull,push" if write else "pull"
        self._scopes = (f"repository:{self._path}:{actions}",)
        self._referrers = Referrers(self, self._get)
        self._kept: dict[str, tuple[Descriptor, bytes]] = {}

    @property
    def name(self) -> str:
        return self.reference.name

    def close(self) -> None:
        """Close the connections; they also close when the object goes."""
        self._connection.close()

    def resolve(self, tag_or_digest: str) -> Descriptor:
        return self.fetch_manifest(tag_or_digest)[0]

    def read_manifest(self, digest: Digest) -> bytes:
        return self.fetch_manifest(digest)[1]

    def has_blob(self, digest: Digest) -> bool:
        answer = self._call("HEAD", f"blobs/{digest}", f"cannot look for {digest} in {self.name}")
        return self._there(answer, digest)

    def read_blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        digest = digest_of(descriptor)
        what = f"cannot pull {digest} from {self.name}"
        call = Call("GET", f"/v2/{self._path}/blobs/{digest}", what, self._scopes)
        return download(self._connection, call, descriptor)

    def write_blob(self, descriptor: Descriptor, chunks: Iterable[bytes]) -> None:
        self._upload(descriptor).run(chunks)

    def mount_blob(self, descriptor: Descriptor, other: Repository) -> bool:
        """Take a blob over from another repository of the same registry, without its bytes.

        Returns:
            True if it worked; else the blob must be written.
        """
        digest, start = digest_of(descriptor), f"/v2/{self._path}/blobs/uploads/"
        if other.reference.registry != self.reference.registry:
            return False
        scopes = (*self._scopes, f"repository:{other._path}:pull")
        what = f"cannot mount {digest} from {other.name} in {self.name}"
        path = f"{start}?mount={digest}&from={other._path}"
        try:
            answer = self._connection.call(Call("POST", path, what, scopes))
        except RegistryDenied:  # no right to read the other one through this registry
            return False
        if answer.status == 202:
            location = answer.headers.get("location", "")
            if location:  # it began an upload instead, which is not continued
                with contextlib.suppress(UrlInvalid):
                    gone = Call("DELETE", str(answer.url.join(location)), what, self._scopes)
                    self._connection.call(gone)
        return answer.status == 201

    def write_manifest(
        self,
        data: bytes,
        media_type: str,
        tags: Sequence[str] = (),
        *,
        immutable: Sequence[str] = (),
    ) -> Descriptor:
        where = f"the manifest for {self.name}"
        media_type = media_type_of(data, where, media_type)
        digest = Digest.of(data)
        for tag in immutable:
            self._refuse_moving(tag, digest)
        subject = subject_of(parse(data, media_type, where))
        stored = ""
        for name in (*tags,) or (digest,):
            # A tag that is right already is left alone: some registries refuse the second writing.
            if subject or name == digest or self._digest_of(name) != digest:
                answer = self.put_manifest(data, media_type, name)
                stored = stored or answer.headers.get("oci-subject", "")
        for tag in immutable:
            self._refuse_moving(tag, digest)
        if subject and stored != subject:
            self._referrers.add(Digest(subject), referrer_entry(data, media_type, where))
        return Descriptor(media_type=media_type, digest=str(digest), size=len(data))

    def attaching(self) -> AbstractContextManager[None]:
        return self._referrers.collecting()

    def tags(self) -> Sequence[str]:
        what = f"cannot list the tags of {self.name}"
        tags: list[str] = []
        for answer in pages(lambda where: self._get(where, {}, MAX_MANIFEST), "tags/list?n=1000"):
            if answer.status == 404:
                return []
            if answer.status != 200:
                raise error_for(answer, what)
            try:
                tags += msgspec.json.decode(answer.body, type=_TagList).tags or []
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
                raise ImageInvalid(f"{what}: the registry does not answer with a list") from exc
        return sorted(set(tags))

    def referrers(self, subject: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
        return self._referrers.of(subject, artifact_type)

    def fetch_manifest(self, reference: str) -> tuple[Descriptor, bytes]:
        """The manifest under a tag or digest; its digest is computed from its bytes.

        Raises:
            ImageNotFound: there is none.
            BlobCorrupt: it is another one than the digest says.
            ImageInvalid: it is too large, or of a kind that is not supported.
        """
        if reference in self._kept:
            return self._kept[reference]
        what = f"cannot pull {_joined(self.name, reference)}"
        answer = self._get(f"manifests/{reference}", _accept(), MAX_MANIFEST)
        if answer.status == 404:
            raise ImageNotFound(f"{what}: there is no such image; check its name and tag")
        if answer.status != 200:
            raise error_for(answer, what)
        digest = Digest.of(answer.body)
        promised = answer.headers.get("docker-content-digest", digest)
        wanted = reference if ":" in reference else promised
        if digest != wanted:
            raise BlobCorrupt(
                f"{what}: the registry sends {digest} where it should be {wanted}; its storage is "
                "damaged: push the image again"
            )
        kind = media_type_of(answer.body, what, answer.headers.get("content-type", ""))
        descriptor = Descriptor(media_type=kind, digest=str(digest), size=len(answer.body))
        self._keep(descriptor, answer.body)
        return descriptor, answer.body

    def put_manifest(self, data: bytes, media_type: str, reference: str) -> Answer:
        """Store a manifest under a tag or its digest."""
        what = f"cannot push {_joined(self.name, reference)}"
        path = f"/v2/{self._path}/manifests/{reference}"
        headers = {"Content-Type": media_type}
        answer = self._connection.call(Call("PUT", path, what, self._scopes, headers, data))
        if answer.status not in (200, 201, 202):
            raise self._refusal(answer, what, data, media_type, reference)
        promised = answer.headers.get("docker-content-digest", "")
        if promised and promised != Digest.of(data):
            raise BlobCorrupt(f"{what}: the registry stored {promised}, not {Digest.of(data)}")
        return answer

    def _refusal(
        self, answer: Answer, what: str, data: bytes, media_type: str, reference: str
    ) -> ImageError:
        """The error for a manifest that is not taken."""
        error = error_for(answer, what)
        if answer.status in _TAG_REFUSALS and ":" not in reference:
            with contextlib.suppress(ImageError):
                current = self._digest_of(reference)
                if current and current != Digest.of(data):
                    return TagTaken(_overwriting(self.name, reference, current, answer.status))
        if answer.status in _SUBJECT_REFUSALS and subject_of(parse(data, media_type, what)):
            return type(error)(
                f"{what}: the registry answers {answer.status}; it takes no attachments (manifests "
                "with a subject), or not this one: leave them out with --no-referrers"
            )
        return error

    def _digest_of(self, tag: str) -> str:
        """The digest that a tag names; empty: there is no such tag."""
        try:
            return self.resolve(tag).digest
        except ImageNotFound:
            return ""

    def _refuse_moving(self, tag: str, digest: Digest) -> None:
        current = self._digest_of(tag)
        if current not in ("", digest):
            raise TagTaken(
                f"{self.name}:{tag} names {current} already, and is not moved to {digest}; "
                "choose another version, or say that the tag may move"
            )

    def _upload(self, descriptor: Descriptor) -> Upload:
        digest = digest_of(descriptor)
        return Upload(
            self._connection,
            f"/v2/{self._path}/blobs/uploads/",
            self._scopes,
            descriptor,
            f"cannot push {digest} to {self.name}",
            lambda: self.has_blob(digest),
        )

    def _there(self, answer: Answer, digest: Digest) -> bool:
        if answer.status in (200, 404):
            return answer.status == 200
        raise error_for(answer, f"cannot look for {digest} in {self.name}")

    def _get(self, path: str, headers: dict[str, str], limit: int) -> Answer:
        """A page below the repository, or a whole URL of the same registry."""
        whole = path if "://" in path else f"/v2/{self._path}/{path}"
        what = f"cannot read {path.partition('?')[0]} of {self.name}"
        call = Call("GET", whole, what, self._scopes, headers, limit=limit)
        return self._connection.call(call)

    def _call(
        self, method: str, path: str, what: str, headers: dict[str, str] | None = None
    ) -> Answer:
        call = Call(method, f"/v2/{self._path}/{path}", what, self._scopes, headers or {})
        return self._connection.call(call)

    def _keep(self, descriptor: Descriptor, data: bytes) -> None:
        """Remember a manifest by digest: a tag is resolved first, and its manifest read then."""
        if len(data) <= _KEPT_SIZE and len(self._kept) < _KEPT_MANIFESTS:
            self._kept[descriptor.digest] = (descriptor, data)


def _overwriting(name: str, tag: str, current: str, status: int) -> str:
    cure = "choose another tag, or exclude this one from the rule that makes tags immutable"
    if is_shared_tag(tag):
        cure = (
            "exclude sha256-* from the rule that makes tags immutable: lists of attachments and "
            "signatures grow; or leave attachments out with --no-referrers"
        )
    return (
        f"{name}: the registry answers {status}: the tag {tag} names {current}, and cannot be "
        f"overwritten there; {cure}"
    )


def _accept() -> dict[str, str]:
    return {"Accept": ", ".join(MANIFEST_TYPES)}


def _joined(name: str, reference: str) -> str:
    return f"{name}{'@' if ':' in reference else ':'}{reference}"
