"""The writer of layers: entries -> tar -> digest -> compressor -> blob, in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from enginecrate.image.layers.cache import LayerCache
from enginecrate.image.layers.collection import collect
from enginecrate.image.layers.compression import Compression
from enginecrate.image.layers.entries import Layer, LayerRecipe
from enginecrate.image.layers.tar import tar_pieces, tar_size
from enginecrate.image.transports.layout import Layout
from enginecrate.image.transports.transfer_pool import TransferPool
from enginecrate.values import Progress, no_progress

__all__ = ["write_layer", "write_layers"]

_THREADS = 2


def write_layer(
    recipe: LayerRecipe,
    layout: Layout,
    compression: Compression,
    cache: LayerCache | None = None,
    progress: Progress = no_progress,
    pool: TransferPool | None = None,
) -> Layer:
    """Write one layer into a layout, or take it from the cache.

    The same contents and compression give the same bytes on every machine.

    Args:
        recipe: the layer's title and contents.
        layout: where the blob goes.
        compression: as locked.
        cache: finished layers of earlier builds.
        progress: called with the layer's title, bytes of the uncompressed archive, and their total.
        pool: that this thread belongs to; it ends between two pieces when the pool is stopped.

    Raises:
        RecipeInvalid: contents do not fit together, changed meanwhile, or the compressor is not the
            locked one.
        ArchiveUnsafe, ArtifactChanged: a package is not what it should be.
        MissingExtra: the package zstandard is not installed.
    """
    compression.check()
    key = cache.key(recipe, compression) if cache else ""
    if cache and (layer := cache.fetch(key, recipe.title, layout)):
        progress(recipe.title, layer.size, layer.size)
        return layer
    entries = collect(recipe)
    pieces = tar_pieces(entries)
    pieces = pool.watched(pieces) if pool else pieces
    watched = _Watched(pieces, tar_size(entries), recipe.title, progress)
    descriptor = layout.add_blob(compression.pieces(watched, watched.total), compression.media_type)
    layer = Layer(recipe.title, descriptor, watched.digest, watched.total)
    if cache:
        cache.keep(key, layer, layout)
    return layer


def write_layers(
    recipes: Sequence[LayerRecipe],
    layout: Layout,
    compression: Compression,
    cache: LayerCache | None = None,
    progress: Progress = no_progress,
) -> list[Layer]:
    """Write several layers, two at a time; in the order of the recipes. Raises as `write_layer`.

    The first failure ends the others, and so does Ctrl-C. `progress` is called from several
    threads.
    """
    pool = TransferPool(_THREADS)
    write = partial(
        write_layer,
        layout=layout,
        compression=compression,
        cache=cache,
        progress=progress,
        pool=pool,
    )
    return pool.each(write, recipes)


class _Watched:
    """The pieces of an archive; counts and digests what passes."""

    def __init__(self, pieces: Iterable[bytes], total: int, title: str, progress: Progress) -> None:
        self.total = total
        self._pieces, self._title, self._progress = pieces, title, progress
        self._hasher = hashlib.sha256()

    @property
    def digest(self) -> str:
        return f"sha256:{self._hasher.hexdigest()}"

    def __iter__(self) -> Iterator[bytes]:
        done = 0
        for piece in self._pieces:
            self._hasher.update(piece)
            done += len(piece)
            self._progress(self._title, done, self.total)
            yield piece
