"""Bytecode for the Python files of other contents, so that nothing is compiled at every start.

All files of one `PythonBytecode` are compiled in one fresh process, in the order of their paths:
the same sources and the same Python give the same bytes. Source: PEP 552, "Deterministic pycs".
"""

from __future__ import annotations

import os
import posixpath
import tempfile
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

from enginecrate.errors import RecipeInvalid
from enginecrate.image.layers.entries import Contents, Entry, RegularFile, key_of
from enginecrate.image.layers.python.interpreter import Interpreter
from enginecrate.image.layers.temporary_files import NamelessFile, Part

__all__ = ["PythonBytecode"]

_LIMIT = 4 << 30


class PythonBytecode:
    """The `.pyc` files of all `.py` files in `contents`, with unchecked hashes, not optimized."""

    def __init__(self, contents: Sequence[Contents], interpreter: Interpreter) -> None:
        self._contents, self._interpreter = tuple(contents), interpreter

    def __str__(self) -> str:
        return "bytecode"

    @property
    def key(self) -> str:
        keys = (one.key for one in self._contents)
        return key_of("bytecode 1", _worker(), self._interpreter.key, *keys)

    def entries(self) -> Iterator[Entry]:
        """Raises `RecipeInvalid`: Python does not run here. Also what the contents raise."""
        sources = {
            entry.path: entry
            for contents in self._contents
            for entry in contents.entries()
            if isinstance(entry, RegularFile) and entry.path.endswith(".py")
        }
        with tempfile.TemporaryDirectory(prefix="enginecrate-") as name:
            folder = Path(name)
            with (folder / "sources").open("wb") as file:
                for path in sorted(sources, key=str.encode):
                    for data in (path.encode(), sources[path].read()):
                        file.write(len(data).to_bytes(8, "little") + data)
                file.write(bytes(8))
            (folder / "worker.py").write_bytes(_worker())
            self._interpreter.run(["worker.py", "sources", "bytecode"], folder)
            bytecode = _stored(folder / "bytecode")
        yield from _entries(bytecode)


def _entries(file: NamelessFile) -> Iterator[Entry]:
    (tag, _), *records = _records(file)
    for path, part in records:
        folder, name = posixpath.split(path)
        stem = name.removesuffix(".py")
        yield RegularFile(f"{folder}/__pycache__/{stem}.{tag}.pyc", part)


def _records(file: NamelessFile) -> Iterator[tuple[str, Part]]:
    position = 0
    while position < file.size:
        parts = []
        for _ in range(2):
            size = int.from_bytes(file.read(8, position), "little")
            if size > file.size - position - 8:
                raise RecipeInvalid("the image's Python did not compile everything; build again")
            parts.append(Part(file, position + 8, size))
            position += 8 + size
        yield parts[0].read().decode(), parts[1]


def _stored(path: Path) -> NamelessFile:
    """A file that stays readable when its folder is gone."""
    file = NamelessFile()
    with path.open("rb") as source:
        size = os.fstat(source.fileno()).st_size
        file.fill(iter(lambda: source.read(1 << 20), b""), min(size, _LIMIT), path.name)
    return file


def _worker() -> bytes:
    return resources.files(__package__).joinpath("bytecode_worker.py").read_bytes()
