"""The floors of the house: who may import whom, no circles, importing runs nothing."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "enginecrate"
GROUND = {"errors", "files", "http_client", "settings", "values", "version"}
"""Everybody may import these; nobody imports the root, which holds the public names."""
ALL = {path.stem if path.suffix else path.name for path in SOURCE.iterdir()}
ALLOWED: dict[str, set[str]] = {
    "": ALL,  # the public names, which load when they are first used
    "errors": set(),
    "http_client": set(),
    "values": set(),
    "settings": {"errors"},
    "version": set(),
    "files": {"errors"},
    "manifest": set(),
    "graph": set(),
    "cuda": set(),
    "pipelines": {"cuda"},
    "bench": {"cuda"},
    "stacks": {"manifest", "cuda"},
    "engines": {"graph", "cuda"},
    "builder": {"engines", "pipelines", "graph", "stacks", "manifest"},
    "server": {"builder", "engines", "pipelines", "stacks", "manifest", "cuda"},
    "image": {"stacks", "manifest"},
    "deploy": {"manifest", "stacks"},
    "release": {"image", "deploy", "manifest", "stacks"},
    "store": {"release", "image", "deploy", "manifest", "stacks"},
    "cli": ALL,
}


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCE.rglob("*.py")}


def imports(path: Path, *, at_import_time: bool) -> Iterator[str]:
    """Modules of ours that a file imports.

    `at_import_time` leaves out those inside functions, and those for type checkers.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    later = {inner for node in ast.walk(tree) if is_later(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if at_import_time and node in later:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("enginecrate"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("enginecrate"):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else str(node.module)


def is_later(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def package(module: str) -> str:
    return [*module.split("."), ""][1]


def test_every_package_is_in_the_table():
    assert {package(name) for name in MODULES} <= set(ALLOWED)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_arrows(name: str):
    mine = package(name)
    may = ALLOWED[mine] | {mine} | (set() if mine in GROUND else GROUND)
    wrong = {
        target
        for target in imports(MODULES[name], at_import_time=False)
        if package(target) not in may
    }
    assert not wrong, f"{name} may import {sorted(may)}, not {sorted(wrong)}"


def test_no_circles():
    graph = {
        name: {target for target in imports(path, at_import_time=True) if target != name}
        for name, path in MODULES.items()
    }
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as exc:
        pytest.fail(" -> ".join(exc.args[1]))


def test_no_file_bears_the_name_of_a_library_it_imports():
    wrong = []
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [str(node.module)]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            wrong += [name for library in names if library.split(".")[0] == path.stem]
    assert not wrong


def test_one_file_knows_the_library_that_sends_requests():
    wanted = {name for name, path in MODULES.items() if {"httpx", "httpcore"} & libraries(path)}
    assert wanted == {"enginecrate.http_client"}


def libraries(path: Path) -> set[str]:
    """The top names of everything that a file imports, anywhere in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return {name.partition(".")[0] for name in names}


def test_importing_everything_is_quiet_and_changes_no_global_state():
    script = (
        "import importlib, logging, signal, sys\n"
        "before = signal.getsignal(signal.SIGTERM), list(logging.getLogger().handlers)\n"
        f"for name in {sorted(n for n in MODULES if not n.endswith('__main__'))!r}:\n"
        "    importlib.import_module(name)\n"
        "after = signal.getsignal(signal.SIGTERM), list(logging.getLogger().handlers)\n"
        "assert before == after, (before, after)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
