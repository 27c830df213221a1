"""Code that TensorRT-RTX compiled for this GPU, kept from one start to the next.

    <folder>/<plan digest>.cache

The library checks by itself whether a cache fits GPU, driver and version; one that does not fit
costs only time. The folder must be ours alone, since the cache holds code for the GPU.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enginecrate.engines.tensorrt.bindings import Library
from enginecrate.errors import CacheUnusable
from enginecrate.files.private_folder import is_ours, write_ours
from enginecrate.values import Digest, PlanInfo

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["RuntimeCache", "open_context"]

_log = logging.getLogger(__name__)


class RuntimeCache:
    """The runtime cache of one plan."""

    def __init__(self, cache: Any, path: Path) -> None:
        """`cache`: the library's own object; `path`: the file."""
        self._cache = cache
        self._path = path
        self._saved = False

    def load(self) -> None:
        """Take what the file holds, if it fits. Raises `CacheUnusable`."""
        if not is_ours(self._path.parent):
            return
        try:
            data = self._path.read_bytes()
        except OSError:
            return
        if not self._cache.deserialize(data):
            _log.info("%s is of another GPU, driver or version, and is made again", self._path)

    def save_once(self) -> None:
        """`save` after the first run, so that a process that is killed later has kept it."""
        if not self._saved:
            self.save()

    def save(self) -> None:
        """Write the file. A failure is logged: the engine works without it."""
        self._saved = True
        data = bytes(self._cache.serialize())
        try:
            write_ours(self._path, data, "the runtime cache")
        except CacheUnusable as exc:
            _log.warning("the runtime cache was not kept: %s", exc)


def open_context(
    library: Library, engine: trt.ICudaEngine, info: PlanInfo, folder: Path | None
) -> tuple[trt.IExecutionContext | None, RuntimeCache | None]:
    """An execution context, with its runtime cache where the library has one.

    Args:
        library: the module.
        engine: to execute.
        info: the plan's sidecar.
        folder: for runtime caches; `None`: none is kept.

    Raises:
        CacheUnusable: the folder belongs to somebody else, or others may write to it.
    """
    if folder is None or not library.can.runtime_cache:
        return engine.create_execution_context(), None
    config = engine.create_runtime_config()
    own = config.create_runtime_cache()
    cache = RuntimeCache(own, folder / f"{Digest(info.plan_digest).hex}.cache")
    cache.load()
    config.set_runtime_cache(own)
    return engine.create_execution_context(config), cache
