"""The files of an image as a container sees them: its layers merged, without extracting anything.

Source: OCI Image Format Specification 1.1, layer.md ("Applying Changesets", "Whiteouts").
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO, Protocol

from enginecrate.image.formats.oci import Descriptor, ImageManifest
from enginecrate.image.formats.tar_stream import Limits, TarReader
from enginecrate.image.reading.decompression import open_layer
from enginecrate.image.reading.file_tree import Entry, FileTree, Hidden
from enginecrate.values import Digest, Progress, no_progress

if TYPE_CHECKING:
    from enginecrate.image.transports.base import ImageSource

__all__ = [
    "LIMITS",
    "Content",
    "Entry",
    "Filesystem",
    "Hidden",
    "read_filesystem",
]

LIMITS = Limits()

_PIECE = 1 << 20


class Content(Protocol):
    """The data of one file, to be read once, before the next file."""

    def read(self, size: int = -1) -> bytes: ...


_Observer = Callable[[Entry, Content], None]
_Tap = Callable[[int, BinaryIO], BinaryIO]
"""Gets the number of a layer, from 0, and its tar; gives the stream that is read instead."""


class Filesystem:
    """The merged tree of an image. Iterating gives every entry, sorted by path."""

    def __init__(
        self, transport: ImageSource, layers: tuple[Descriptor, ...], tree: FileTree
    ) -> None:
        self.layers = layers
        self._transport, self._tree = transport, tree
        self._sorted: tuple[Entry, ...] = ()

    @property
    def hidden(self) -> tuple[Hidden, ...]:
        """Files that later layers remove or replace: they are still in the image."""
        return tuple(self._tree.hidden)

    def __iter__(self) -> Iterator[Entry]:
        # Sorted once: many readers go through all of it.
        self._sorted = self._sorted or tuple(self._tree.entries())
        return iter(self._sorted)

    def get(self, path: str) -> Entry | None:
        """The entry at `path` (without a leading slash). A link at its end is not followed."""
        return self._tree.find(path, follow=False)

    def resolve(self, path: str) -> Entry | None:
        """The entry that `path` leads to. Links are followed, and never leave the image's root.

        None: nothing is there; the link dangles, or runs in a circle.
        """
        return self._tree.find(path, follow=True)

    def below(self, folder: str) -> Iterator[Entry]:
        """Every entry in a folder and its folders, sorted; none when it is not there."""
        return self._tree.entries(folder)

    def is_visible(self, entry: Entry) -> bool:
        """True if a container can read these bytes: under this path, or through a hard link."""
        return entry.inode in self._tree.visible

    def read_files(
        self, entries: Iterable[Entry], progress: Progress = no_progress
    ) -> Iterator[tuple[tuple[Entry, ...], Content]]:
        """The contents of chosen files, in the order in which the layers hold them.

        The layers that hold them are read once more. Hard links share one content: they come
        together. Each content must be read before the next one is asked for.

        Raises:
            ImageInvalid, ArchiveUnsafe, BlobCorrupt: as from `read_filesystem`.
        """
        wanted: dict[int, dict[int, list[Entry]]] = defaultdict(lambda: defaultdict(list))
        for entry in entries:
            if entry.kind == "file":
                wanted[entry.inode >> 32][entry.inode & 0xFFFFFFFF].append(entry)
        for layer in sorted(wanted):
            numbers = wanted[layer]
            descriptor = self.layers[layer]
            read = _Counter("read layers", descriptor.size, progress)
            with open_layer(self._transport, descriptor, read) as tar:
                reader = _reader(tar, layer, descriptor, LIMITS)
                for _ in reader:
                    if reader.headers in numbers:
                        yield tuple(numbers[reader.headers]), reader

    def digests(
        self, entries: Iterable[Entry], progress: Progress = no_progress
    ) -> dict[str, Digest]:
        """The digest of each file by its path. Reads their layers once more."""
        digests: dict[str, Digest] = {}
        for sharing, content in self.read_files(entries, progress):
            hasher = hashlib.sha256()
            while piece := content.read(_PIECE):
                hasher.update(piece)
            digest = Digest(f"sha256:{hasher.hexdigest()}")
            digests.update((one.path, digest) for one in sharing)
        return dict(sorted(digests.items()))


def read_filesystem(
    transport: ImageSource,
    manifest: ImageManifest,
    *,
    observe: _Observer | None = None,
    tap: _Tap | None = None,
    skip: Collection[int] = (),
    limits: Limits = LIMITS,
    progress: Progress = no_progress,
) -> Filesystem:
    """Read all layers of an image, as a stream.

    Args:
        transport: where the image is.
        manifest: of one platform.
        observe: called with every file of every layer (those that a later layer hides, too) and its
            content, while it passes by: files are read without a second pass.
        tap: sees each layer's tar, all of it, while it passes by.
        skip: numbers of layers, from 0, to leave out.
        limits: against images that were made to exhaust the reader.
        progress: counts compressed bytes.

    Raises:
        ImageInvalid: a layer is damaged, or what it holds contradicts itself.
        ArchiveUnsafe: a path leads out of the image, or the image is over a limit.
        BlobCorrupt, ImageNotFound: a layer is not what the manifest says, or is missing.
    """
    tree = FileTree(limits)
    total = sum(one.size for index, one in enumerate(manifest.layers) if index not in skip)
    read = _Counter("read layers", total, progress)
    bytes_left, entries_left = limits.unpacked_bytes, limits.entries
    for index, descriptor in enumerate(manifest.layers):
        if index in skip:
            continue
        with open_layer(transport, descriptor, read) as layer:
            tar = tap(index, layer) if tap else layer
            most = min(bytes_left, max(limits.ratio_from, limits.ratio * descriptor.size))
            reader = TarReader(
                tar, f"layer {index + 1}", limits=limits, most_bytes=most, most_entries=entries_left
            )
            with tree.layer(index) as change:
                for header in reader:
                    entry = change.apply(header, reader.headers)
                    if entry is not None and observe is not None:
                        observe(entry, reader)
            while tap and tar.read(_PIECE):
                pass
        entries_left -= reader.headers
        bytes_left -= reader.unpacked
    tree.finish()
    return Filesystem(transport, manifest.layers, tree)


def _reader(tar: object, layer: int, descriptor: Descriptor, limits: Limits) -> TarReader:
    return TarReader(
        tar,  # type: ignore[arg-type]
        f"layer {layer + 1}",
        limits=limits,
        most_bytes=max(limits.ratio_from, limits.ratio * descriptor.size),
        most_entries=limits.entries,
    )


class _Counter:
    """Adds sizes up and shows the sum."""

    def __init__(self, step: str, total: int, progress: Progress) -> None:
        self._step, self._total, self._progress, self._done = step, total, progress, 0

    def __call__(self, size: int) -> None:
        self._done += size
        self._progress(self._step, self._done, self._total)
