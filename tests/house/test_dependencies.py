"""Versions: those that tests ran with, and the inner parts of libraries that we rely on."""

import ast
import contextlib
import importlib.metadata
import inspect
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "enginecrate"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def declared() -> Iterator[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    for texts in (PROJECT["dependencies"], *extras):
        yield from map(Requirement, texts)


def bounded() -> dict[str, Requirement]:
    """Packages with an upper bound. What is said of one in two places is the same."""
    found: dict[str, Requirement] = {}
    for requirement in declared():
        if any(one.operator.startswith("<") for one in requirement.specifier):
            earlier = found.setdefault(requirement.name, requirement)
            assert earlier.specifier == requirement.specifier
    return found


def locked(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"(?m)^([a-z0-9._-]+)==(\S+)", text))


def test_users_get_the_versions_that_the_tests_ran_with():
    runtime, dev = locked("runtime"), locked("dev")
    assert "onnxruntime" in runtime
    assert {name: dev.get(name) for name in runtime} == runtime


def test_the_locks_keep_to_the_bounds():
    for name in ("runtime", "dev"):
        versions = locked(name)
        for package, requirement in bounded().items():
            version = versions.get(str(canonicalize_name(package)))
            assert version is None or requirement.specifier.contains(version), package


def test_what_is_installed_keeps_to_the_bounds():
    for package, requirement in bounded().items():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            assert requirement.specifier.contains(importlib.metadata.version(package)), package


def pillow() -> None:
    """`pillow_decoder` makes the plugins' image files itself, and asks JPEG's for a draft;
    `turbo_decoder` hands its pixels over as `Image.frombuffer` does.
    """
    from PIL import Image
    from PIL.ImageFile import ImageFile
    from PIL.JpegImagePlugin import JpegImageFile

    from enginecrate.pipelines.pillow_decoder import _PLUGINS

    for kind in _PLUGINS.values():
        assert inspect.isclass(kind)
        assert issubclass(kind, ImageFile)
        assert names_of(kind.__init__)[:2] == ["self", "fp"]
    assert names_of(JpegImageFile.draft) == ["self", "mode", "size"]
    assert isinstance(Image.Image.has_transparency_data, property)
    used = set(Image.frombuffer.__code__.co_names)
    assert {"core", "map_buffer", "new", "_new", "readonly"} <= used
    assert Image.core.map_buffer(bytes(4), (1, 1), "raw", 0, ("RGB", 0, 1)).mode == "RGB"


def simplejpeg() -> None:
    """`turbo_decoder` counts on its being strict, and on the names of its arguments."""
    import simplejpeg as library

    options = inspect.signature(library.decode_jpeg).parameters
    assert options["strict"].default is True
    assert options["min_height"].default == options["min_width"].default == 0


def onnxruntime() -> None:
    """A session switches one optimizer off; a name that is none would be ignored in silence."""
    import onnxruntime as library

    from enginecrate.engines.onnxruntime import sessions

    (binary,) = (Path(library.__file__).parent / "capi").glob("onnxruntime_pybind11_state*.so")
    content = binary.read_bytes()
    assert sessions._UNWANTED.encode() in content
    assert sessions._RECORD_NODES.encode() in content
    assert callable(library.InferenceSession.get_provider_graph_assignment_info)
    # `OnnxRuntimeEngine` calls what the session's own `run` calls once it has checked the inputs.
    source = inspect.getsource(library.InferenceSession.run)
    assert "self._sess.run(output_names, input_feed, run_options)" in source


def spdx_tools() -> None:
    """An SBOM is converted to plain data, and written by us."""
    from spdx_tools.spdx.jsonschema.document_converter import DocumentConverter

    assert names_of(DocumentConverter.__init__) == ["self"]
    assert names_of(DocumentConverter.convert)[:2] == ["self", "instance"]


def httpx() -> None:
    """The classes of errors that `http_client` tells apart, its arguments, and the pool of
    connections that a transport is given.
    """
    import httpx as library

    from enginecrate.http_client import client

    assert all(issubclass(theirs, library.HTTPError) for theirs, _ in client._KINDS)
    assert not issubclass(library.InvalidURL, library.HTTPError)
    arguments = {"transport", "trust_env", "follow_redirects", "timeout", "headers"}
    assert arguments <= set(names_of(library.Client.__init__))
    assert "_pool" in library.HTTPTransport.handle_request.__code__.co_names
    assert set(library.HTTPTransport.close.__code__.co_names) == {"_pool", "close"}


def httpcore() -> None:
    """`network` is a backend, whose streams stand in for the library's own."""
    import httpcore as library

    from enginecrate.http_client import network

    for base, ours in (
        (library.NetworkBackend, network.Backend),
        (library.NetworkStream, network._Stream),
    ):
        for name in set(vars(base)) & set(vars(ours)) - {"__init__"}:
            if inspect.isfunction(vars(base)[name]):
                assert names_of(vars(base)[name]) == names_of(vars(ours)[name]), name
    assert {"read", "write", "close", "start_tls", "get_extra_info"} <= set(vars(network._Stream))
    wanted = {"ssl_context", "proxy", "network_backend", "keepalive_expiry"}
    assert wanted <= set(names_of(library.ConnectionPool.__init__))


CHECKS: dict[str, Callable[[], None]] = {
    "httpcore": httpcore,
    "httpx": httpx,
    "onnxruntime": onnxruntime,
    "pillow": pillow,
    "simplejpeg": simplejpeg,
    "spdx-tools": spdx_tools,
}


@pytest.mark.parametrize("package", sorted(CHECKS))
def test_the_inner_parts_that_we_use_are_there(package: str):
    CHECKS[package]()


def test_every_bound_has_a_check():
    assert set(bounded()) == set(CHECKS) | {"onnxruntime-gpu"}  # the same module


PRIVATE = {
    "importlib._bootstrap_external",  # compiles for the image's Python, which runs this itself
}


def test_no_other_private_module_or_name_is_imported():
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            foreign = (name for name in names if not name.startswith("enginecrate."))
            found |= {name for name in foreign if re.search(r"\._(?!_)|^_(?!_)", name)}
    assert found == PRIVATE


def names_of(function: Callable[..., object]) -> list[str]:
    return list(inspect.signature(function).parameters)


def attributes_of(name: str, path: Path) -> set[str]:
    """What is read from or written to `name` in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == name
    }
