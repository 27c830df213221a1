"""The command that every image starts: `/opt/enginecrate/bin/enginecrate`."""

from __future__ import annotations

from enginecrate.image.layers.entries import Contents
from enginecrate.image.layers.files import BytesContents
from enginecrate.image.recipe.config import ENTRY_POINT, ROOT

__all__ = ["entry_script"]

_SCRIPT = f"""\
#!/usr/bin/python{{version}} -I
import sys

sys.path.insert(1, "{ROOT}/lib")

from enginecrate.cli.entrypoint import main

sys.exit(main())
"""


def entry_script(interpreter: str) -> Contents:
    """The script for a version of Python, `3.11.2`. `-I`: no variable or folder adds modules."""
    version = ".".join(interpreter.split(".")[:2])
    script = _SCRIPT.format(version=version).encode()
    return BytesContents("entry point", {ENTRY_POINT.lstrip("/"): script}, mode=0o755)
