"""Tiny models that would take all memory or time end with one sentence that names the limit."""

import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from enginecrate.errors import EnginecrateError, ModelInvalid, ModelTooCostly, ModelUnsupported
from enginecrate.graph.isolation import isolated
from enginecrate.graph.isolation.isolated import Budget, budget_for, run_isolated
from enginecrate.graph.onnx.model import read_model
from enginecrate.graph.rewrite.simplify import simplify

SMALL = Budget(cpu_seconds=1, memory_bytes=64 * 2**20)


def constant(name: str, array: object, kind: object = np.int64) -> TensorProto:
    return numpy_helper.from_array(np.asarray(array, kind), name)


def model(
    nodes: list[onnx.NodeProto],
    constants: tuple[TensorProto, ...] = (),
    functions: tuple[onnx.FunctionProto, ...] = (),
) -> onnx.ModelProto:
    """`x` [1,3] in, `y` [1,3] out."""
    borders = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", borders[:1], borders[1:], list(constants))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions)


def from_nothing(*nodes: onnx.NodeProto, constants: tuple[TensorProto, ...]) -> onnx.ModelProto:
    """Nodes that make `z` out of constants; its sum is added to the input."""
    total = helper.make_node("ReduceSum", ["z"], ["s"], keepdims=0)
    return model([*nodes, total, helper.make_node("Add", ["x", "s"], ["y"])], constants)


def counting() -> onnx.ModelProto:
    numbers = (constant("a", 0), constant("b", 10**12), constant("d", 1))
    nodes = (
        helper.make_node("Range", ["a", "b", "d"], ["r"]),
        helper.make_node("Cast", ["r"], ["z"], to=TensorProto.FLOAT),
    )
    return from_nothing(*nodes, constants=numbers)


def zeros(size: int, additions: int = 0) -> onnx.ModelProto:
    nodes = [helper.make_node("ConstantOfShape", ["n"], ["q0" if additions else "z"])]
    for number in range(additions):
        target = "z" if number == additions - 1 else f"q{number + 1}"
        nodes.append(helper.make_node("Add", [f"q{number}", "q0"], [target]))
    return from_nothing(*nodes, constants=(constant("n", [size]),))


def expanded(operator: str, sizes: list[int]) -> onnx.ModelProto:
    node = helper.make_node(operator, ["k", "n"], ["z"])
    return from_nothing(node, constants=(constant("n", sizes), constant("k", [1], np.float32)))


def doubling(depth: int) -> onnx.ModelProto:
    """Functions that each call the one before twice."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    functions = [
        helper.make_function(
            "f", "F0", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], opsets
        )
    ]
    for number in range(1, depth):
        calls = [
            helper.make_node(f"F{number - 1}", ["a"], ["c"], domain="f"),
            helper.make_node(f"F{number - 1}", ["c"], ["b"], domain="f"),
        ]
        functions.append(helper.make_function("f", f"F{number}", ["a"], ["b"], calls, opsets))
    node = helper.make_node(f"F{depth - 1}", ["x"], ["y"], domain="f")
    return model([node], functions=tuple(functions))


def chain(length: int) -> onnx.ModelProto:
    names = ["x", *(f"a{number}" for number in range(length - 1)), "y"]
    pairs = itertools.pairwise(names)
    return model([helper.make_node("Relu", [first], [second]) for first, second in pairs])


def crowded() -> onnx.ModelProto:
    proto = chain(1)
    proto.graph.input.extend(
        helper.make_tensor_value_info(f"i{number}", TensorProto.FLOAT, [1])
        for number in range(100_000)
    )
    return proto


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (counting, ModelTooCostly, "checking .* takes more than 512 MiB of memory"),
        (lambda: zeros(800_000_000), ModelTooCostly, "'z' makes 800,000,000 numbers out of const"),
        (lambda: zeros(800_000_000, 9), ModelTooCostly, "takes more than 512 MiB of memory"),
        (lambda: zeros(2**40), ModelTooCostly, "'z' makes 1,099,511,627,776 numbers"),
        (lambda: expanded("Expand", [10**6, 10**6]), ModelTooCostly, "'z' makes 1,000,000,000,000"),
        (lambda: expanded("Tile", [2**62]), ModelTooCostly, "'z' makes 4,611,686,018,427,387,904"),
        (lambda: doubling(30), ModelTooCostly, "takes more than 5 s of processor time"),
        (lambda: chain(100_000), ModelUnsupported, "more than 50,000 nodes, the most that is read"),
        (crowded, ModelUnsupported, "has 100,001 inputs; the most that is read is 4,096"),
    ],
    ids=[
        "range", "zeros", "zeros-added", "zeros-2-40", "expand", "tile", "functions", "nodes",
        "inputs",
    ],
)  # fmt: skip
def test_a_tiny_model_that_would_take_everything(
    tmp_path: Path,
    make: Callable[[], onnx.ModelProto],
    error: type[EnginecrateError],
    sentence: str,
):
    path = tmp_path / "m.onnx"
    path.write_bytes(make().SerializeToString())
    with pytest.raises(error, match=sentence) as caught:
        read_model(path)
    assert str(path) in str(caught.value)
    assert "export" in str(caught.value)


def test_functions_that_end_are_taken(tmp_path: Path):
    path = tmp_path / "m.onnx"
    path.write_bytes(doubling(6).SerializeToString())
    assert simplify(read_model(path)).note == ""


def test_a_device_is_no_model():
    with pytest.raises(ModelInvalid, match="/dev/zero is a device or a pipe, not a file"):
        read_model(Path("/dev/zero"))


def test_a_long_chain_of_idle_nodes_goes(tmp_path: Path):
    proto = chain(5_000)
    for node in proto.graph.node[:-1]:
        node.op_type = "Identity"
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    assert simplify(read_model(path)).after == {"Relu": 1}


# The process itself; these functions run in it.


def reverse(data: bytes) -> bytes:
    return data[::-1]


def fill(data: bytes) -> bytes:
    return bytes(int(data))


def spin(data: bytes) -> bytes:
    while True:
        pass


def fail(data: bytes) -> bytes:
    raise ValueError("of no use")


def die(data: bytes) -> bytes:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGSEGV)
    return data


def call(name: str, data: bytes = b"", budget: Budget = SMALL) -> bytes:
    return run_isolated(f"{__name__}:{name}", data, budget, "working on m.onnx")


def test_bytes_come_back():
    assert call("reverse", b"abc") == b"cba"
    assert call("reverse", bytes(range(256)) * 100_000) == bytes(range(255, -1, -1)) * 100_000


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("fill", b"200000000", "takes more than 64 MiB of memory"),
        ("spin", b"", "takes more than 1 s of processor time"),
        ("die", b"", "its process was ended by SIGSEGV"),
    ],
)
def test_what_reaches_a_limit_ends_and_the_next_call_works(name: str, data: bytes, sentence: str):
    with pytest.raises(ModelTooCostly, match=f"^working on m.onnx .*{sentence}"):
        call(name, data)
    assert call("reverse", b"ab") == b"ba"


def test_limits_count_from_where_the_process_stands():
    for _ in range(4):
        assert len(call("fill", b"40000000")) == 40_000_000


def test_an_error_of_the_function_shows_its_traceback():
    with pytest.raises(RuntimeError, match=r"(?s)working on m.onnx failed:.*ValueError: of no use"):
        call("fail")
    assert call("reverse", b"ab") == b"ba"


def test_an_idle_process_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(isolated, "IDLE_SECONDS", 0.05)
    while isolated._watches:  # one with the usual time
        isolated._watches.pop().cancel()
    assert call("reverse", b"ab") == b"ba"
    process = isolated._children[0].process
    isolated._watches[0].join()
    assert process.returncode is not None
    assert isolated._children == []
    assert call("reverse", b"ab") == b"ba"


def test_threads_take_turns():
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda text=text: answers.append(call("reverse", text)))
        for text in (b"ab", b"cd", b"ef")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [b"ba", b"dc", b"fe"]


def test_large_models_may_take_more():
    assert budget_for(0, 0) == Budget(5, 512 * 2**20)
    assert budget_for(320 * 2**20, 8_000) == Budget(27, 512 * 2**20 + 8 * 320 * 2**20)
