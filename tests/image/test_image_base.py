"""A vendor's image below ours: by its digest alone, and without a word of where it lay."""

from pathlib import Path

import pytest

from containers import Registry
from enginecrate.errors import ImageNotFound, RecipeInvalid
from enginecrate.image.recipe.base_image import open_base
from enginecrate.image.transports.copy import copy_image
from enginecrate.image.transports.layout import Layout
from enginecrate.image.transports.reference import open_target
from small_images import add_image

NAME, DIGEST = "org.opencontainers.image.base.name", "org.opencontainers.image.base.digest"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "home-of-alice" / "jetpack", create=True)


def test_the_digest_decides_and_a_moved_tag_does_not(layout: Layout):
    first = add_image(layout, ["r36"], files={"one": b"1"})
    text = f"oci:{layout.folder}:r36@{first.digest}"
    before = open_base(text, "linux/amd64")
    add_image(layout, ["r36"], files={"two": b"2"})
    assert open_base(text, "linux/amd64").digest == before.digest == first.digest
    assert before.annotations() == {NAME: "r36", DIGEST: first.digest}
    with pytest.raises(ImageNotFound):
        open_base(f"oci:{layout.folder}@sha256:{'0' * 64}", "linux/amd64")


@pytest.mark.parametrize("name", ["", ":latest", ":r36"])
def test_a_name_without_a_digest_is_refused(layout: Layout, name: str):
    add_image(layout, ["latest", "r36"])
    with pytest.raises(RecipeInvalid, match=r"@sha256:\.\.\..*enginecrate image show"):
        open_base(f"oci:{layout.folder}{name}", "linux/amd64")


def test_in_a_registry_it_has_its_name_there(layout: Layout, registry: Registry):
    image = add_image(layout, ["6.2"])
    repository = f"{registry.address}/base/jetpack"
    copy_image(layout, "6.2", open_target(f"{repository}:6.2")[0], ["6.2"])
    for text, name in (
        (f"{repository}:6.2@{image.digest}", f"{repository}:6.2"),
        (f"{repository}@{image.digest}", f"{repository}@{image.digest}"),
    ):
        found = open_base(text, "linux/amd64").annotations()
        assert found == {NAME: name, DIGEST: image.digest}


@pytest.mark.parametrize("folder", ["plain", "with:colon", "deep/er"])
def test_a_folder_is_never_in_the_name(tmp_path: Path, monkeypatch, folder: str):
    monkeypatch.chdir(tmp_path)
    image = add_image(Layout(Path(folder), create=True), ["r36"])
    base = open_base(f"oci:{folder}:r36@{image.digest}", "linux/amd64")
    assert base.annotations() == {DIGEST: image.digest, NAME: "r36"}
    if ":" not in folder:  # else its end would be a tag
        base = open_base(f"oci:{folder}@{image.digest}", "linux/amd64")
        assert base.annotations() == {DIGEST: image.digest}
