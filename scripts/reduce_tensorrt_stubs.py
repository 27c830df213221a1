"""Write stubs/tensorrt/__init__.pyi: what our adapter uses of the package tensorrt-stubs.

The published stubs (MIT licence) do not parse (a parameter is named `in`, another has no default
after one that has) and carry no `py.typed`
marker, so mypy skips them. Ours are cut from them, and never written by hand.
"""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from pathlib import Path

KEPT = (
    "Builder", "BuilderFlag", "DataType", "Dims", "EngineInspector", "ErrorCode",
    "HardwareCompatibilityLevel", "IBuilderConfig", "ICudaEngine", "IExecutionContext",
    "IHostMemory", "ILogger", "INetworkDefinition", "IOptimizationProfile", "IOutputAllocator",
    "IProgressMonitor", "ITensor", "ITimingCache", "LayerInformationFormat", "LayerType",
    "MemoryPoolType", "NetworkDefinitionCreationFlag", "OnnxParser", "OnnxParserRefitter",
    "ParserError", "ProfilingVerbosity", "Runtime", "TensorIOMode", "TensorLocation", "ILayer",
)  # fmt: skip
TARGET = Path(__file__).parents[1] / "stubs" / "tensorrt" / "__init__.pyi"
BUILTIN = {"bool", "bytes", "capsule", "dict", "float", "int", "list", "str", "tuple", "None"}


class Reduce(ast.NodeTransformer):
    """Drop docstrings; what is not kept becomes `Any`."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.body = [ast.Expr(ast.Constant(...))]
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            if argument.annotation is not None:
                argument.annotation = self.known(argument.annotation)
            if argument.arg == "self":
                argument.annotation = None
        node.args.defaults = [ast.Constant(...) for _ in node.args.defaults]
        if node.returns is not None:
            node.returns = self.known(node.returns)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = [self.visit(item) for item in node.body if not is_docstring(item)]
        node.bases = [base for base in node.bases if ast.unparse(base) in KEPT]
        node.body = node.body or [ast.Expr(ast.Constant(...))]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = self.known(node.annotation)
        node.value = None
        return node

    def known(self, annotation: ast.expr) -> ast.expr:
        names = set(re.findall(r"[A-Za-z_][\w.]*", ast.unparse(annotation)))
        allowed = BUILTIN | set(KEPT) | {"ILogger.Severity", "typing.ClassVar", "ClassVar"}
        if "typing.ClassVar" in names and not names <= allowed:
            return ast.parse("typing.ClassVar[typing.Any]", mode="eval").body
        if names <= allowed - {"capsule"}:
            return annotation
        return ast.parse("typing.Any", mode="eval").body


def is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def reduced() -> str:
    source = importlib.metadata.distribution("tensorrt-stubs").locate_file(
        "tensorrt_bindings/tensorrt.pyi"
    )
    text = re.sub(r"\bin: ", "in_: ", Path(str(source)).read_text(encoding="utf-8"))
    text = text.replace("channel_axis: int)", "channel_axis: int = ...)")
    classes = [
        Reduce().visit(node)
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef) and node.name in KEPT
    ]
    missing = set(KEPT) - {node.name for node in classes}
    if missing:
        sys.exit(f"tensorrt-stubs has no {', '.join(sorted(missing))}")
    version = importlib.metadata.version("tensorrt-stubs")
    head = (
        f"# Cut from tensorrt-stubs {version} (MIT licence, Copyright (c) sync.dev) by\n"
        "# scripts/reduce_tensorrt_stubs.py; do not edit.\n"
        "# mypy: ignore-errors\n"
        "import typing\n\n__version__: str\n"
    )
    body = ast.unparse(ast.fix_missing_locations(ast.Module(classes, [])))
    return head + "\n" + body.replace("\n\n\n", "\n\n") + "\n"


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(reduced(), encoding="utf-8")
