"""Loads a class from a Python file in a project folder."""

from __future__ import annotations

import importlib
import itertools
import sys
import traceback
import types
from pathlib import Path
from typing import Any

from enginecrate.errors import PipelineModuleInvalid, nearest

__all__ = ["load_class", "own_traceback"]

_loads = itertools.count(1)


def load_class(module: str, root: Path) -> type[Any]:
    """Load the class that `file:Class` names; `file` is relative to the project folder.

    The folder becomes a package of its own under a name used only once, so two projects in one
    process do not see each other's files, nothing is added to `sys.path`, and a project that
    was edited is loaded afresh. Files beside it are imported by `from .other import thing`.

    Raises:
        PipelineModuleInvalid: there is no such file in the project folder, importing it fails,
            or it has no such class.
    """
    file_name, _, class_name = module.partition(":")
    where = f"[pipeline] module = {module!r}"
    path = _find(file_name, root, where)
    loaded = _import(path, root.resolve(), where)
    loaded_class = getattr(loaded, class_name, None)
    if not isinstance(loaded_class, type):
        classes = [
            name
            for name, item in vars(loaded).items()
            if isinstance(item, type) and item.__module__ == loaded.__name__
        ]
        raise PipelineModuleInvalid(
            f"{where}: {path.name} has no class {class_name!r}{nearest(class_name, classes)}; "
            f"its classes are: {', '.join(classes) or 'none'}"
        )
    return loaded_class


def own_traceback(error: BaseException, root: Path) -> str:
    """The error and the last line of the project's own code that led to it, for its author."""
    words = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    folder = root.resolve()
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(folder):
            location = f"{path.relative_to(folder)}, line {frame.lineno}, in {frame.name}"
            return f"{words} ({location}: {frame.line})"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{words} ({Path(error.filename).name}, line {error.lineno}: {_line(error)})"
    return words


def _line(error: SyntaxError) -> str:
    return (error.text or "").strip()


def _find(file_name: str, root: Path, where: str) -> Path:
    folder = root.resolve()
    relative = Path(file_name.removesuffix(".py") + ".py")
    path = (folder / relative).resolve()
    if relative.is_absolute() or not path.is_relative_to(folder):
        raise PipelineModuleInvalid(
            f"{where} leaves the project folder; the file must lie within {root}, "
            "because only that folder is packed into the image"
        )
    if any("." in part for part in relative.with_suffix("").parts):
        raise PipelineModuleInvalid(
            f"{where}: {file_name!r} is no module's name; give a file without dots, and folders "
            "with slashes, for example 'app/inspection:Pipeline'"
        )
    if not path.is_file():
        files = [str(file.relative_to(folder).with_suffix("")) for file in folder.glob("*.py")]
        raise PipelineModuleInvalid(
            f"{where}: there is no {relative} in {root}{nearest(file_name, files)}"
        )
    return path


def _import(path: Path, folder: Path, where: str) -> types.ModuleType:
    package = types.ModuleType(f"enginecrate_project_{next(_loads)}")
    package.__path__ = [str(folder)]
    sys.modules[package.__name__] = package
    name = ".".join((package.__name__, *path.relative_to(folder).with_suffix("").parts))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as exc:
        _forget(package.__name__)
        raise PipelineModuleInvalid(
            f"{where}: importing it failed: {own_traceback(exc, folder)}{_advice(exc, folder)}"
        ) from exc


def _forget(package: str) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]


def _advice(error: BaseException, folder: Path) -> str:
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return ""
    if (folder / f"{error.name}.py").is_file() or (folder / error.name).is_dir():
        return f"; write `from .{error.name} import ...` for a file of the project"
    return f"; install {error.name} where this runs, or do without it"
