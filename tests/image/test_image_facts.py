"""Reads of `image show`: small documents alone, of any builder, and not every tag."""

import json
import shutil
from pathlib import Path

import pytest

from containers import Registry, running_registry
from enginecrate.errors import ImageInvalid
from enginecrate.image.facts import read_facts
from enginecrate.image.formats.oci import CONFIG, MANIFEST, ImageManifest, decode_config, encode
from enginecrate.image.transports.copy import copy_image
from enginecrate.image.transports.layout import Layout
from enginecrate.image.transports.registry import Repository
from enginecrate.release.content.image import open_image
from enginecrate.values import Digest, ImageRef
from small_images import add_cosign, add_image, noise

NULLS = {
    "architecture": "amd64", "os": "linux", "variant": None, "author": None,
    "config": {"Cmd": None, "Env": ["A=1"], "Labels": None, "Volumes": None, "Healthcheck": None},
    "rootfs": {"type": "layers", "diff_ids": []}, "history": None,
}  # fmt: skip


def test_configurations_of_docker_have_nulls(tmp_path):
    layout = Layout(tmp_path, create=True)
    config = layout.add_blob([json.dumps(NULLS).encode()], CONFIG)
    layout.write_manifest(encode(ImageManifest(config=config, layers=())), MANIFEST, ["v1"])
    assert read_facts(layout, "v1").platforms[0].config.config.env == ("A=1",)
    assert open_image(layout, layout.resolve("v1")).platforms[0].platform == "linux/amd64"


@pytest.mark.parametrize("data", [b"", b"null", b"[" * 100_000, b"\xff", b'{"os": null}'])
def test_other_configurations_are_refused(data):
    with pytest.raises(ImageInvalid, match="the configuration of x"):
        decode_config(data, "the configuration of x")


def test_a_huge_configuration_is_not_read(tmp_path):
    layout = Layout(tmp_path, create=True)
    config = layout.add_blob([bytes(9 << 20)], CONFIG)
    layout.write_manifest(encode(ImageManifest(config=config, layers=())), MANIFEST, ["v1"])
    with pytest.raises(ImageInvalid, match="at most 8,388,608 are read"):
        read_facts(layout, "v1")


@pytest.fixture
def own_registry(tmp_path: Path):
    """One whose storage a test may damage."""
    with running_registry(tmp_path / "registry") as running:
        yield running


def test_tags_that_are_alike_are_looked_at(own_registry: Registry, tmp_path):
    """There are 42 tags; one names nothing any more, as when it is removed meanwhile."""
    layout = Layout(tmp_path / "layout", create=True)
    other = add_image(layout, ["other"], files={"n": noise(10)})
    image = add_image(layout, ["v1.2.0-ort-cpu"])
    add_cosign(layout, image)
    target = Repository(ImageRef(own_registry.address, "isv/app"), write=True)
    copy_image(layout, "other", target, ["v1.2.0-gone", *(f"v0.{n}.0" for n in range(40))])
    copy_image(layout, "v1.2.0-ort-cpu", target, ["v1.2.0-ort-cpu", "v1.2-ort-cpu", "v1.2"])
    hexadecimal = Digest(other.digest).hex
    shutil.rmtree(own_registry.storage / f"docker/registry/v2/blobs/sha256/{hexadecimal[:2]}")
    assert read_facts(target, "v1.2.0-ort-cpu").tags == ("v1.2", "v1.2-ort-cpu")
    target.close()
