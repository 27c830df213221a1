"""Enginecrate: from an ONNX model to a proven, deployable inference server.

The public names load when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from enginecrate.version import __version__

if TYPE_CHECKING:
    from enginecrate.builder.ladder.predictor import Predictor, open_predictor
    from enginecrate.builder.project.project import Project, open_project
    from enginecrate.builder.run import run_build
    from enginecrate.engines.base import Backend, Engine
    from enginecrate.errors import EnginecrateError
    from enginecrate.manifest import Manifest, load_manifest
    from enginecrate.pipelines.base import Pipeline, Prepared
    from enginecrate.server.start import serve
    from enginecrate.settings import Settings, load_settings
    from enginecrate.values import PipelineSpec, TensorSpec

__all__ = [
    "Backend",
    "Engine",
    "EnginecrateError",
    "Manifest",
    "Pipeline",
    "PipelineSpec",
    "Predictor",
    "Prepared",
    "Project",
    "Settings",
    "TensorSpec",
    "__version__",
    "load_manifest",
    "load_settings",
    "open_predictor",
    "open_project",
    "run_build",
    "serve",
]

_HOME = {
    "Backend": "engines.base",
    "Engine": "engines.base",
    "EnginecrateError": "errors",
    "Manifest": "manifest",
    "Pipeline": "pipelines.base",
    "PipelineSpec": "values",
    "Predictor": "builder.ladder.predictor",
    "Prepared": "pipelines.base",
    "Project": "builder.project.project",
    "Settings": "settings",
    "TensorSpec": "values",
    "load_manifest": "manifest",
    "load_settings": "settings",
    "open_predictor": "builder.ladder.predictor",
    "open_project": "builder.project.project",
    "run_build": "builder.run",
    "serve": "server.start",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
