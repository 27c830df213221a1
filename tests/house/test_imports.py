"""The floors of the house: who may import whom, no circles, importing runs nothing."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from import_graph import Modules, circles, parsed

MODULES = Modules(Path(__file__).parents[2] / "src" / "enginecrate")
GROUND = {"errors", "files", "http_client", "isolation", "settings", "values", "version"}
"""Every package may import these; none imports the root, which holds the public names."""
ALL = {MODULES.package(name) for name in MODULES.files} - {""}
ALLOWED: dict[str, set[str]] = {
    "": ALL,  # the public names, which load when they are first used
    "errors": set(),
    "http_client": {"errors"},
    "values": set(),
    "settings": {"errors", "files"},
    "version": set(),
    "files": {"errors"},
    "isolation": set(),
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
    "release": {"image", "manifest", "stacks"},
    "cli": ALL,
}
FLOORS = {
    "": "http_client files isolation cuda graph manifest pipelines bench stacks engines builder"
    " image server release cli",
    "builder": "golden trial scaffold project accuracy quantization graphs plans proof report"
    " conformance ladder check",
    "builder/quantization": "calibration",
    "builder/scaffold": "guess",
    "cli": "shared project serving image release",
    "engines": "cache onnxruntime tensorrt",
    "graph": "isolation onnx describe support rewrite quantize cast",
    "image": "formats transports layers reading audit resolve recipe sbom",
    "image/audit": "rules",
    "image/layers": "packages python",
    "image/transports": "registry",
    "pipelines": "decoders",
    "release": "keys documents signatures content boot create verify",
    "server": "logs memory statistics scheduling http inference_protocol decoding model api"
    " processes",
    "stacks": "lock machine doctor",
}
"""The rooms in each folder, from the ground up: each may import those that stand before it."""


def test_every_package_is_in_the_table():
    assert set(ALLOWED) >= ALL


def test_the_table_names_no_package_that_does_not_exist():
    named = set(ALLOWED).union(GROUND, *ALLOWED.values()) - {""}
    assert named == ALL


def test_arrows():
    wrong = [
        f"{name} -> {target}"
        for name in MODULES.files
        for target in sorted({one.module for one in MODULES.imports(name)})
        if not may_import(MODULES.package(name), MODULES.package(target))
    ]
    assert wrong == []


def may_import(package: str, other: str) -> bool:
    return (
        other == package or other in ALLOWED[package] or (package not in GROUND and other in GROUND)
    )


def test_no_circles():
    graph = {
        name: {one.module for one in MODULES.imports(name) if one.moment == "import"} - {name}
        for name in MODULES.files
    }
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as exc:
        pytest.fail(" -> ".join(exc.args[1]))


def test_files_and_folders_of_each_folder_import_one_another_in_one_direction():
    """So no circle leads through folders, either: its arrows meet in the folder around them."""
    wrong = {
        folder: [sorted(circle) for circle in circles(graph)]
        for folder, graph in MODULES.neighbours().items()
        if circles(graph)
    }
    assert wrong == {}


def test_rooms_import_only_lower_floors():
    orders = {folder: names.split() for folder, names in FLOORS.items()}
    assert {folder: set(order) for folder, order in orders.items()} == MODULES.rooms()
    wrong = [
        f"{folder}: {here} -> {there}"
        for folder, graph in MODULES.neighbours().items()
        for here, targets in graph.items()
        for there in targets
        if folder in orders and {here, there} <= set(orders[folder])
        if orders[folder].index(here) < orders[folder].index(there)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("back", "expected"),
    [
        ("import house.a.inner.low", [{"a", "b"}]),
        ("def late():\n    from house.a.inner import low", [{"a", "b"}]),
        ("from house.a import inner", [{"a", "b"}]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import house.a.inner.low", []),
        ("import house.a2.low", []),
    ],
    ids=["at import", "late", "package", "types", "other folder"],
)
def test_circles_over_several_folders_are_found(
    tmp_path: Path, back: str, expected: list[set[str]]
):
    """`a` imports `b`, and `a/inner` imports `a`; `b` imports what the test says."""
    files = {
        "a/__init__.py": "",
        "a/high.py": "from house.b import middle\n",
        "a/inner/__init__.py": "",
        "a/inner/low.py": "from house.a.high import x\n",
        "a2/low.py": "",
        "b/middle.py": back + "\n",
    }
    for name, text in files.items():
        (tmp_path / "house" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "house" / name).write_text(text)
    modules = Modules(tmp_path / "house")
    found = [set(circle) for graph in modules.neighbours().values() for circle in circles(graph)]
    assert found == expected
    assert modules.rooms() == {"": {"a"}, "a": {"inner"}}


def test_no_file_bears_the_name_of_a_library_it_imports():
    wrong = [name for name, path in MODULES.files.items() if path.stem in libraries(path)]
    assert not wrong


def test_one_file_knows_the_library_that_sends_requests():
    wanted = {
        name for name, path in MODULES.files.items() if {"httpx", "httpcore"} & libraries(path)
    }
    assert wanted == {"enginecrate.http_client.client", "enginecrate.http_client.network"}


def test_one_file_locks_files():
    wanted = {name for name, path in MODULES.files.items() if "fcntl" in libraries(path)}
    sealing = {"enginecrate.server.memory.arena"}  # the size of shared memory
    assert wanted - sealing == {"enginecrate.files.locks"}


def libraries(path: Path) -> set[str]:
    """The top names of everything that a file imports, anywhere in it."""
    names = []
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return {name.partition(".")[0] for name in names}


def test_importing_everything_is_quiet_and_changes_no_global_state():
    script = (
        "import importlib, logging, signal, sys\n"
        "before = signal.getsignal(signal.SIGTERM), list(logging.getLogger().handlers)\n"
        f"for name in {sorted(n for n in MODULES.files if not n.endswith('__main__'))!r}:\n"
        "    importlib.import_module(name)\n"
        "after = signal.getsignal(signal.SIGTERM), list(logging.getLogger().handlers)\n"
        "assert before == after, (before, after)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
