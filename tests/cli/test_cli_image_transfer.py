"""`enginecrate image push|copy|save|load` as people call them."""

import json
import os
from pathlib import Path

import pytest

from containers import Registry
from enginecrate.image.transports.layout import Layout
from enginecrate.image.transports.reference import open_transport
from enginecrate.values import Digest
from small_images import add_cosign, add_image, add_index, attach


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the developer's own logins."""
    for name in [name for name in os.environ if name.startswith(("XDG_", "DOCKER_", "REGISTRY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """The result of `image build`: an image with its tags, and what was attached to it."""
    layout = Layout(tmp_path / "layout", create=True)
    image = add_image(layout, ["v1.2.0-ort-cpu", "v1.2-ort-cpu", "v1.2"])
    attach(layout, image, b"sbom")
    add_cosign(layout, image)
    return layout


@pytest.fixture
def target(registry: Registry, request: pytest.FixtureRequest) -> str:
    return f"{registry.address}/cli/{request.node.name.replace('_', '-')}"


def test_push_keeps_all_tags(run, layout, target):
    done = run("image", "push", layout.folder, target)
    assert done.code == 0, done.err
    image = layout.resolve("v1.2")
    assert done.out == f"{target}: {image.digest} v1.2 v1.2-ort-cpu v1.2.0-ort-cpu\n"
    transport, _ = open_transport(f"{target}:v1.2")
    assert transport.resolve("v1.2.0-ort-cpu") == image
    assert len(transport.referrers(Digest(image.digest))) == 1


def test_push_with_other_tags(run, layout, target):
    done = run(
        "image", "push", f"{layout.folder}:v1.2", f"{target}:v9.0.0", "--tag", "v9", "--json"
    )
    (image,) = json.loads(done.out)["images"]
    assert image["tags"] == ["v9.0.0", "v9"]
    assert image["digest"] == layout.resolve("v1.2").digest


def test_a_whole_version_never_moves_unless_told_so(run, layout, target):
    assert run("image", "push", layout.folder, target).code == 0
    add_image(layout, ["v1.2.0-ort-cpu", "v1.2"], files={"new": b"new"})
    done = run("image", "push", f"{layout.folder}:v1.2", target)
    assert done.code == 0, done.err  # the short tag follows
    done = run("image", "push", f"{layout.folder}:v1.2.0-ort-cpu", target)
    assert done.code == 4
    assert "v1.2.0-ort-cpu names sha256:" in done.err
    done = run("image", "push", f"{layout.folder}:v1.2.0-ort-cpu", target, "--moving")
    assert done.code == 0, done.err
    add_image(layout, ["v1.2"], files={"newer": b"newer"})
    assert run("image", "push", f"{layout.folder}:v1.2", target, "--immutable").code == 4


def test_there_and_back(run, layout, target, tmp_path):
    image = layout.resolve("v1.2")
    for words in (
        ("push", layout.folder, target),
        ("copy", f"{target}:v1.2.0-ort-cpu", f"{target}-copy"),
        ("copy", f"{target}-copy:v1.2.0-ort-cpu", f"oci:{tmp_path}/copied:v3"),
        ("save", f"oci:{tmp_path}/copied", "app.tar", "--name", "registry.example.com/isv/app"),
        ("load", "app.tar", f"{target}-loaded"),
        ("save", f"{target}-loaded:v3", "again.tar", "--name", "registry.example.com/isv/app"),
    ):
        done = run("image", *words)
        assert done.code == 0, done.err
        assert image.digest in done.out
    assert Path("app.tar").read_bytes() == Path("again.tar").read_bytes()


def test_one_platform(run, tmp_path):
    add_index(Layout(tmp_path / "many", create=True), ["v1"])
    done = run("image", "copy", f"{tmp_path}/many", f"oci:{tmp_path}/one", "--platform",
               "linux/arm64", "--json")  # fmt: skip
    (image,) = json.loads(done.out)["images"]
    assert image["media_type"] == "application/vnd.oci.image.manifest.v1+json"


MISTAKES = [
    ("image copy isv/app:v1 oci:x", 2, "docker.io/isv/app:v1"),
    ("image copy registry.example.com/isv/app oci:x", 2, "add a tag"),
    ("image copy {layout}:v9 oci:x", 3, "its tags: "),
    ("image copy {layout} oci:x:latest", 2, "latest"),
    ("image copy {layout} {layout}@sha256:" + "0" * 64, 2, "keeps its own"),
    ("image copy {layout}:v1.2 oci:x --platform linux/arm64", 3, "linux/amd64 alone"),
    ("image push {layout} 127.0.0.1:1/isv/app", 6, "127.0.0.1"),
    ("image push {layout} 127.0.0.1:1/isv/app --ca-file none.pem", 2, "none.pem"),
    ("image push {layout} x.tar", 2, "image save"),
    ("image save {layout}:v9 x.tar", 3, "v9"),
    ("image save {layout}:v1.2 none/x.tar", 6, "none/x.tar"),
    ("image save {layout}:v1.2 {layout}", 6, "folder"),
    ("image copy {layout}:v1.2 oci:{text}", 6, "layout"),
    ("image load none.tar oci:x", 3, "none.tar"),
    ("image load {text} oci:x", 2, "not a valid tar"),
]


@pytest.mark.parametrize(("line", "code", "words"), MISTAKES, ids=[one[0] for one in MISTAKES])
def test_mistakes(run, layout, tmp_path, line, code, words):
    (tmp_path / "text.tar").write_text("hello" * 1000)
    done = run(*line.format(layout=layout.folder, text=tmp_path / "text.tar").split())
    assert done.code == code, done.err
    assert words in done.err
    assert "Traceback" not in done.err
