"""Files that every image brings: the example clients, the start script, default settings.

The start script is `/opt/enginecrate/bin/enginecrate`. The settings are a file, so that the user's
own settings file wins over it.
"""

from __future__ import annotations

from collections.abc import Mapping

from enginecrate.errors import RecipeInvalid
from enginecrate.image.layers.entries import Contents
from enginecrate.image.layers.files import BytesContents
from enginecrate.image.recipe.config import CACHE, ENTRY_POINT, PLANS, ROOT
from enginecrate.settings import IMAGE_DEFAULTS_FILE
from enginecrate.version import PACKAGE_FOLDER

__all__ = ["IMAGE_DEFAULTS", "client_files", "entry_script", "image_defaults"]

_SCRIPT = f"""\
#!/usr/bin/python{{version}} -I
import sys

sys.path.insert(1, "{ROOT}/lib")

from enginecrate.cli.entrypoint import main

sys.exit(main())
"""
IMAGE_DEFAULTS: Mapping[str, str] = {
    "cache_dir": CACHE,
    "host": "::",  # IPv6 and IPv4, inside a container: which ports are published decides
    "log_format": "json",
    "log_stream": "stdout",
    "plans_dir": PLANS,
}


def client_files() -> dict[str, bytes]:
    """Name and bytes of each client, sorted: from a source checkout, or from the installed package.

    Raises:
        RecipeInvalid: the program was installed without its samples.
    """
    for folder in (PACKAGE_FOLDER / "samples", PACKAGE_FOLDER.parents[1] / "samples"):
        paths = sorted((folder / "clients").glob("*.py"))
        if paths:
            return {path.name: path.read_bytes() for path in paths}
    raise RecipeInvalid(
        f"the example clients are missing in {PACKAGE_FOLDER / 'samples'}; "
        "install enginecrate again"
    )


def entry_script(interpreter: str) -> Contents:
    """The script for a version of Python, `3.11.2`. `-I`: no variable or folder adds modules."""
    version = ".".join(interpreter.split(".")[:2])
    script = _SCRIPT.format(version=version).encode()
    return BytesContents("entry point", {ENTRY_POINT.lstrip("/"): script}, mode=0o755)


def image_defaults() -> Contents:
    """The file `/opt/enginecrate/defaults.toml`."""
    lines = [
        "# What is other here than outside of images; /etc/enginecrate/settings.toml wins over it.",
        *(f'{name} = "{value}"' for name, value in IMAGE_DEFAULTS.items()),
        "",
    ]
    return BytesContents("defaults", {IMAGE_DEFAULTS_FILE.lstrip("/"): "\n".join(lines).encode()})
