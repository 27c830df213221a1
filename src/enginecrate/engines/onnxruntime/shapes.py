"""Shapes of an engine's outputs before it runs, and the batches that it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from enginecrate.errors import TensorMismatch

__all__ = ["Dimension", "ShapeRule", "padded_batch", "padded_sizes"]

Dimension = int | str | None
"""One entry of a declared shape: a size, a symbol, or nothing."""


def padded_batch(batch: int, largest: int) -> int:
    """The next size of the form 2^k or 3 x 2^k, but not above `largest`.

    A GPU engine searches for kernels and records its work once for each size, so there should be
    few; these waste a third of the work at most, and 32 sizes become 10.
    """
    size = 1
    while size < batch:
        if size * 3 // 2 >= batch and size > 1:
            size = size * 3 // 2
            break
        size *= 2
    return min(size, largest)


def padded_sizes(largest: int) -> list[int]:
    """Every size that `padded_batch` gives, in the order in which they are most worth having."""
    doubled = [2**power for power in range(largest.bit_length()) if 2**power <= largest]
    between = [3 * 2**power for power in range(largest.bit_length()) if 3 * 2**power <= largest]
    return list(dict.fromkeys([1, largest, *doubled, *between]))


class ShapeRule:
    """Gives the shapes of outputs where those of the inputs decide them.

    That is so when every dimension of every output is a number, the batch, or a symbol that an
    input has too.
    """

    def __init__(
        self,
        inputs: Mapping[str, Sequence[Dimension]],
        outputs: Mapping[str, Sequence[Dimension]],
        *,
        batched: bool,
    ) -> None:
        """Take the shapes as the model declares them.

        Args:
            inputs: by name.
            outputs: by name.
            batched: whether the first dimension of all of them is one and the same batch,
                whatever it is called.
        """
        self._inputs = {name: tuple(shape) for name, shape in inputs.items()}
        self._outputs = {name: tuple(shape) for name, shape in outputs.items()}
        self._batched = batched
        self.known = self._all_known()

    def outputs(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
        """The outputs' shapes for inputs of these shapes. Only where `known`.

        Raises:
            TensorMismatch: inputs give one symbol several sizes.
        """
        sizes: dict[str, tuple[int, str]] = {}
        for name, declared in self._inputs.items():
            for symbol, size in zip(declared, shapes[name], strict=True):
                if isinstance(symbol, str):
                    known, source = sizes.setdefault(symbol, (size, name))
                    if known != size:
                        raise TensorMismatch(
                            f"input {name!r} has {symbol} = {size}, but input {source!r} has "
                            f"{known}; both must be the same"
                        )
        batch = next(iter(shapes.values()))[0] if self._batched else 0
        return {
            name: tuple(
                batch if self._batched and axis == 0 else _size(entry, sizes)
                for axis, entry in enumerate(declared)
            )
            for name, declared in self._outputs.items()
        }

    def _all_known(self) -> bool:
        symbols = {entry for shape in self._inputs.values() for entry in shape}
        return all(
            isinstance(entry, int)
            or (self._batched and axis == 0)
            or (isinstance(entry, str) and entry in symbols)
            for shape in self._outputs.values()
            for axis, entry in enumerate(shape)
        )


def _size(entry: Dimension, sizes: Mapping[str, tuple[int, str]]) -> int:
    if isinstance(entry, int):
        return entry
    return sizes[str(entry)][0]
