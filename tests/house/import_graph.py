"""Imports among the modules of enginecrate, read from its source: nothing is imported for it."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

Moment = Literal["import", "call", "types"]


class Import(NamedTuple):
    """A module that another one imports: when it is imported, called, or for type checkers."""

    module: str
    moment: Moment


class Modules:
    """All modules below a folder, by their dotted names."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.files = {self._name(path): path for path in sorted(source.rglob("*.py"))}
        self._imports: dict[str, Sequence[Import]] = {}

    def _name(self, path: Path) -> str:
        parts = path.relative_to(self.source.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def package(self, name: str) -> str:
        """The package (or module) right below the root; empty for the root itself."""
        return [*name.split("."), ""][1]

    def folder(self, name: str) -> str:
        """Where the file lies. A package's `__init__` lies in the package's own folder."""
        return self.files[name].parent.relative_to(self.source).as_posix()

    def imports(self, name: str) -> Sequence[Import]:
        """Modules of ours that a module imports, anywhere in it."""
        if name not in self._imports:
            self._imports[name] = list(self._read_imports(parsed(self.files[name])))
        return self._imports[name]

    def _read_imports(self, tree: ast.Module) -> Iterator[Import]:
        moments = _moments(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for module in self._modules(node):
                    yield Import(module, moments.get(node, "import"))

    def _modules(self, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        root = self.source.name
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            assert node.level == 0, f"relative import: {ast.unparse(node)}"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in self.files else str(node.module) for name in inner]
        yield from (name for name in names if name.split(".")[0] == root)

    def neighbours(self) -> dict[str, dict[str, set[str]]]:
        """For each folder: how the files and folders in it import one another.

        An import counts where the ways to both modules part: `image/audit/sarif.py` that imports
        `image/formats/oci.py` is an arrow from `audit` to `formats` in the folder `image`, and
        none in `image/audit`. What only type checkers see is left out.
        """
        graphs: dict[str, dict[str, set[str]]] = {}
        for name in self.files:
            for one in self.imports(name):
                parted = None if one.moment == "types" else _parting(name, one.module)
                if parted:
                    folder, here, there = parted
                    graph = graphs.setdefault(folder, {})
                    graph.setdefault(here, set()).add(there)
                    graph.setdefault(there, set())
        return graphs

    def rooms(self) -> dict[str, set[str]]:
        """The folders in each folder that has any."""
        found: dict[str, set[str]] = {}
        for path in self.files.values():
            if path.name == "__init__.py" and path.parent != self.source:
                folder = path.parent.parent.relative_to(self.source).as_posix()
                found.setdefault("" if folder == "." else folder, set()).add(path.parent.name)
        return found


def _parting(name: str, other: str) -> tuple[str, str, str] | None:
    """The last common folder of two modules, and the next step to each; `None` inside of one."""
    mine, theirs = name.split(".")[1:], other.split(".")[1:]
    common = 0
    while common < min(len(mine), len(theirs)) and mine[common] == theirs[common]:
        common += 1
    if common == len(mine) or common == len(theirs):
        return None
    return "/".join(mine[:common]), mine[common], theirs[common]


@cache
def parsed(path: Path) -> ast.Module:
    """A file's syntax, read once."""
    return ast.parse(path.read_text(encoding="utf-8"))


def _moments(tree: ast.Module) -> dict[ast.AST, Moment]:
    """When the nodes that do not run at import are reached."""
    found: dict[ast.AST, Moment] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found |= dict.fromkeys(_inside(node.body), "call")
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            found |= dict.fromkeys(_inside(node.body), "types")
    return found


def _inside(body: list[ast.stmt]) -> Iterator[ast.AST]:
    return (node for statement in body for node in ast.walk(statement))


def circles(graph: Mapping[str, set[str]]) -> set[frozenset[str]]:
    """The largest groups of nodes of which each leads to all others."""
    reached = {node: _reached(graph, node) for node in graph}
    return {
        frozenset(other for other in reached[node] if node in reached[other])
        for node in graph
        if node in reached[node]
    }


def _reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """What a node leads to; the node itself only over others."""
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(graph[node])
    return found
