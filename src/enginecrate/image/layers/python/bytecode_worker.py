"""Compile Python sources to `.pyc` in one fresh process of the image's own interpreter.

It runs on its own, without enginecrate: argument 1 is a file of sources, argument 2 where the
bytecode goes. Both hold records: length and text of a path, then length and bytes of a file; the
lengths have 8 bytes, little-endian. What does not compile is left out.
"""

import importlib.util
import sys
from importlib import _bootstrap_external


def main() -> None:
    """Compile every record in its order. The first record of the output names the cache tag."""
    with open(sys.argv[1], "rb") as sources, open(sys.argv[2], "wb") as target:  # noqa: PTH123
        _write(target, str(sys.implementation.cache_tag), b"")
        while path := _read(sources).decode():
            source = _read(sources)
            try:
                code = compile(source, "/" + path, "exec", dont_inherit=True, optimize=0)
            except (SyntaxError, ValueError, RecursionError):
                continue
            # Unchecked: the image is read-only, and no time of a file is ever compared.
            made = _bootstrap_external._code_to_hash_pyc(  # type: ignore[attr-defined]
                code, importlib.util.source_hash(source), False
            )
            _write(target, path, bytes(made))


def _read(file) -> bytes:  # type: ignore[no-untyped-def]
    return file.read(int.from_bytes(file.read(8), "little"))  # type: ignore[no-any-return]


def _write(file, path: str, data: bytes) -> None:  # type: ignore[no-untyped-def]
    for one in (path.encode(), data):
        file.write(len(one).to_bytes(8, "little"))
        file.write(one)


if __name__ == "__main__":
    main()
