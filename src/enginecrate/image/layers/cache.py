"""The cache of finished layers: a killed build goes on where it stopped."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import msgspec

from enginecrate.errors import BlobCorrupt
from enginecrate.files.atomic import scratch_file, sweep, write_atomic
from enginecrate.files.eviction import evict, mark_used
from enginecrate.image.formats.oci import Descriptor, digest_of
from enginecrate.image.layers.compression import Compression
from enginecrate.image.layers.entries import Layer, LayerRecipe, key_of
from enginecrate.image.transports.layout import Layout
from enginecrate.values import Digest

__all__ = ["LayerCache"]

_WRITER = "1"
"""Raise it whenever the same contents would be written as other bytes."""

_LIMIT = 10 << 30
_LAYER = ".layer"


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    descriptor: Descriptor
    diff_id: str
    size: int


class LayerCache:
    """A folder of layers by the key of their contents. Several processes may use it.

    What is read is checked; a damaged file is dropped and made again. The least recently used
    layers go when `limit` bytes are exceeded.
    """

    def __init__(self, folder: Path, *, limit: int = _LIMIT) -> None:
        self._folder, self._limit = folder, limit

    def key(self, recipe: LayerRecipe, compression: Compression) -> str:
        """The key of a layer: a digest of everything that decides its bytes."""
        return key_of(_WRITER, str(compression), *(contents.key for contents in recipe))

    def fetch(self, key: str, title: str, layout: Layout) -> Layer | None:
        """Put a layer into the layout; `None` when it is not here."""
        note = self._note(key)
        try:
            entry = msgspec.json.decode(note.read_bytes(), type=_Entry)
            digest = digest_of(entry.descriptor)
            if not layout.has_blob(digest):
                with self._blob(digest).open("rb") as file:
                    layout.write_blob(entry.descriptor, iter(lambda: file.read(1 << 20), b""))
        except (OSError, msgspec.DecodeError):
            return None
        except BlobCorrupt:
            note.unlink(missing_ok=True)
            self._blob(digest).unlink(missing_ok=True)
            return None
        mark_used(self._blob(digest))
        return Layer(title, entry.descriptor, entry.diff_id, entry.size)

    def keep(self, key: str, layer: Layer, layout: Layout) -> None:
        """Remember a layer that was just written. A cache that cannot be written to is no error."""
        digest = digest_of(layer.descriptor)
        entry = _Entry(descriptor=layer.descriptor, diff_id=layer.diff_id, size=layer.size)
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            sweep(self._folder)
            self._put(self._blob(digest), layout.blob_path(digest))
            write_atomic(self._note(key), msgspec.json.encode(entry))
            if evict([self._folder], self._limit, suffix=_LAYER):
                self._drop_notes()

    def _put(self, target: Path, source: Path) -> None:
        if target.exists():
            return
        try:
            target.hardlink_to(source)
        except FileExistsError:  # another process was quicker
            return
        except OSError:  # it is on another file system
            with scratch_file(self._folder, target.name) as scratch, source.open("rb") as file:
                shutil.copyfileobj(file, scratch.file)
                scratch.keep(target)

    def _drop_notes(self) -> None:
        """Remove the notes about layers that were evicted."""
        for note in self._folder.glob("*.json"):
            with contextlib.suppress(OSError, msgspec.DecodeError):
                entry = msgspec.json.decode(note.read_bytes(), type=_Entry)
                if not self._blob(digest_of(entry.descriptor)).exists():
                    note.unlink()

    def _note(self, key: str) -> Path:
        return self._folder / f"{Digest(key).hex}.json"

    def _blob(self, digest: Digest) -> Path:
        return self._folder / f"{digest.hex}{_LAYER}"
