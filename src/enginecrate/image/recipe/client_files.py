"""The example clients that every image brings."""

from __future__ import annotations

from pathlib import Path

import enginecrate
from enginecrate.errors import RecipeInvalid

__all__ = ["client_files"]


def client_files() -> dict[str, bytes]:
    """Name and bytes of each client, sorted: from a source checkout, or from the installed package.

    Raises:
        RecipeInvalid: the program was installed without its samples.
    """
    package = Path(enginecrate.__file__).parent
    for folder in (package / "samples", package.parents[1] / "samples"):
        found = sorted((folder / "clients").glob("*.py"))
        if found:
            return {path.name: path.read_bytes() for path in found}
    raise RecipeInvalid(
        f"the example clients are missing in {package / 'samples'}; install enginecrate again"
    )
