"""The version of this program, and the folder that it is installed in."""

from __future__ import annotations

from pathlib import Path

__all__ = ["PACKAGE_FOLDER", "__version__"]

__version__ = "0.1.0"

PACKAGE_FOLDER = Path(__file__).parent
"""The package `enginecrate` itself: in a source checkout, or where it was installed."""
