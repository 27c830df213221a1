"""Optional dependencies: a verb that needs one says so before it works for minutes."""

from __future__ import annotations

import importlib.util

from enginecrate.errors import MissingExtra

__all__ = ["require_extra"]

_MODULES = {
    "image": {
        "cryptography": "cryptography",
        "cyclonedx": "cyclonedx-python-lib",
        "elftools": "pyelftools",
        "packaging": "packaging",
        "spdx_tools": "spdx-tools",
        "zstandard": "zstandard",
    }
}
"""For each extra its modules, and the packages that bring them."""


def require_extra(extra: str) -> None:
    """Check that an extra is installed, as pyproject.toml has it.

    Raises:
        MissingExtra: a package of it is not.
    """
    for module, package in _MODULES[extra].items():
        if importlib.util.find_spec(module) is None:
            raise MissingExtra(package, extra=extra)
