"""No test asserts a time: a busy machine would fail it, and a fast one would hide the fault."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CLOCKS = {"monotonic", "perf_counter", "process_time", "thread_time", "time"}
CLOCKS |= {f"{name}_ns" for name in CLOCKS}


def reads_clock(node: ast.AST) -> bool:
    """Whether an expression reckons with `time.monotonic()` or the like.

    A clock that is handed to a function, as a deadline, is not looked at.
    """
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS and not node.args
    return any(map(reads_clock, ast.iter_child_nodes(node)))


def asserted_times(text: str) -> Iterator[int]:
    """Lines that assert something about a clock, or about a name that was set from one."""
    tree = ast.parse(text)
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        nodes = list(ast.walk(function))
        set_from_clock = {
            target.id
            for node in nodes
            if isinstance(node, ast.Assign) and reads_clock(node.value)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in nodes:
            if isinstance(node, ast.Assert):
                names = {one.id for one in ast.walk(node.test) if isinstance(one, ast.Name)}
                if reads_clock(node.test) or names & set_from_clock:
                    yield node.lineno


def test_no_test_asserts_a_time():
    found = [
        f"{path.relative_to(TESTS)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        for line in asserted_times(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("start = time.monotonic(); stop(); assert time.monotonic() - start < 5", [2]),
        ("took = time.perf_counter() - begin; assert took < 1", [2]),
        ("end = time.monotonic() + 9\n    while time.monotonic() < end: wait()", []),
        ("late = submit(deadline=time.monotonic() - 1); assert late.failed", []),
        ("assert stop(timeout=5) == 0", []),
    ],
)
def test_asserted_times_are_found(body: str, found: list[int]):
    assert list(asserted_times(f"def test_it():\n    {body}\n")) == found
