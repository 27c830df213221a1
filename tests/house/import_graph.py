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

    def folders(self) -> dict[str, set[str]]:
        """The other folders that each folder imports. What only type checkers see is left out."""
        graph: dict[str, set[str]] = {self.folder(name): set() for name in self.files}
        for name in self.files:
            mine = self.folder(name)
            graph[mine] |= {
                self.folder(one.module) for one in self.imports(name) if one.moment != "types"
            } - {mine}
        return graph


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
