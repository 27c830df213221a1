"""Settings that are others in an image: a file, so that the user's own settings file wins."""

from __future__ import annotations

from collections.abc import Mapping

from enginecrate.image.layers.entries import Contents
from enginecrate.image.layers.files import BytesContents
from enginecrate.image.recipe.config import CACHE, PLANS
from enginecrate.settings import IMAGE_DEFAULTS_FILE

__all__ = ["IMAGE_DEFAULTS", "image_defaults"]

IMAGE_DEFAULTS: Mapping[str, str] = {
    "cache_dir": CACHE,
    "host": "0.0.0.0",  # noqa: S104 - inside a container; which ports are published decides
    "log_format": "json",
    "log_stream": "stdout",
    "plans_dir": PLANS,
}


def image_defaults() -> Contents:
    """The file `/opt/enginecrate/defaults.toml`."""
    lines = [
        "# What is other here than outside of images; /etc/enginecrate/settings.toml wins over it.",
        *(f'{name} = "{value}"' for name, value in IMAGE_DEFAULTS.items()),
        "",
    ]
    return BytesContents("defaults", {IMAGE_DEFAULTS_FILE.lstrip("/"): "\n".join(lines).encode()})
