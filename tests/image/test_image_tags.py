"""The tags that an image gets, and the annotations that it carries."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from enginecrate.errors import ImageInvalid, ReferenceInvalid, SettingInvalid
from enginecrate.image.formats.oci import Descriptor
from enginecrate.image.layers.entries import Layer
from enginecrate.image.recipe.annotations import (
    OURS,
    EngineNote,
    Requirements,
    app_annotations,
    read_requirements,
    requirement_annotations,
)
from enginecrate.image.recipe.bundled_files import IMAGE_DEFAULTS, image_defaults
from enginecrate.image.recipe.config import container_config, image_config, stack_environment
from enginecrate.image.recipe.origin import find_origin
from enginecrate.image.recipe.tags import check_tag, image_tags, release_tag
from enginecrate.manifest import parse_manifest
from enginecrate.settings import SETTINGS
from enginecrate.stacks.catalog import get_stack, load_stacks
from enginecrate.values import ComputeCapability, ImageRef

NEEDS = Requirements(
    app="ai-inspection",
    version="1.2.0",
    stack="trtrtx17-cuda130",
    platforms=("linux/amd64",),
    backends=("tensorrt_rtx", "onnxruntime"),
    compute_capabilities=(ComputeCapability(8, 6), ComputeCapability(12, 0)),
    unconfirmed=(ComputeCapability(8, 0),),
    minimum_driver="580.65.06",
    gpu_memory_bytes=700_000_000,
    disk_bytes=900_000_000,
    download_bytes=300_000_000,
    engines=(EngineNote("cpu", "fp32"), EngineNote("sm86", "int8")),
    release="v1.2.0-release",
    golden_samples=3,
)


def test_tags_of_a_stack():
    tags = image_tags("1.2.0", "trt86-cuda122")
    assert tags.own == "v1.2.0-trt86-cuda122"
    assert tags.moving == ("v1.2-trt86-cuda122",)


def test_the_first_stack_has_the_short_aliases():
    tags = image_tags("1.2.0", "ort-cpu", first=True)
    assert tags.all == ("v1.2.0-ort-cpu", "v1.2-ort-cpu", "v1.2.0", "v1.2")
    assert tags.moving == ("v1.2-ort-cpu", "v1.2")


def test_an_image_for_one_gpu_takes_no_alias_of_the_whole():
    tags = image_tags("1.2.0", "trtrtx17-cuda130", first=True, device="sm86")
    assert tags.all == ("v1.2.0-trtrtx17-cuda130-sm86", "v1.2-trtrtx17-cuda130-sm86")


def test_a_prerelease_moves_no_short_alias():
    tags = image_tags("1.3.0-rc.1", "ort-cpu", first=True)
    assert tags.all == ("v1.3.0-rc.1-ort-cpu", "v1.3.0-rc.1")
    assert release_tag("1.3.0-rc.1") == "v1.3.0-rc.1-release"


@pytest.mark.parametrize("stack", load_stacks())
def test_every_tag_fits_a_reference(stack: str):
    for tag in image_tags("10.20.30", stack, first=True, device="sm120").all:
        assert ImageRef.parse(f"registry.example.com/isv/app:{tag}").tag == tag


@pytest.mark.parametrize("tag", ["latest", "LATEST"])
def test_latest_is_refused(tag: str):
    with pytest.raises(ReferenceInvalid, match="does not tell which version"):
        check_tag(tag)


@pytest.mark.parametrize("tag", ["", ".hidden", "a b", "v1+x", "x" * 129, "-x"])
def test_what_cannot_be_a_tag(tag: str):
    with pytest.raises(ReferenceInvalid, match="cannot be a tag"):
        check_tag(tag)


def test_a_version_too_long_for_a_tag_names_the_key():
    with pytest.raises(ReferenceInvalid, match=r"app\.version"):
        image_tags("1.2.0-" + "x" * 120, "ort-cpu")


def test_requirements_survive_the_annotations():
    assert read_requirements(requirement_annotations(NEEDS)) == NEEDS


def test_annotations_are_texts_in_order():
    written = requirement_annotations(NEEDS)
    assert list(written) == sorted(written)
    assert written[f"{OURS}compute-capabilities"] == "8.6,12.0"
    assert written[f"{OURS}engines"] == "cpu:fp32,sm86:int8"
    assert written[f"{OURS}ports"] == "8000/tcp"
    assert all(isinstance(value, str) for value in written.values())


def test_an_app_without_golden_samples_is_unproven():
    written = requirement_annotations(replace(NEEDS, golden_samples=0))
    assert written[f"{OURS}golden-samples"] == "0"
    assert read_requirements(written).is_unproven
    assert not read_requirements(requirement_annotations(NEEDS)).is_unproven


def test_an_image_of_an_earlier_version_does_not_say_how_many_samples_it_has():
    written = requirement_annotations(NEEDS)
    del written[f"{OURS}golden-samples"]
    assert read_requirements(written).golden_samples is None
    assert not read_requirements(written).is_unproven


def test_a_foreign_image_has_no_requirements():
    with pytest.raises(ImageInvalid, match=r"io\.enginecrate\.app is missing"):
        read_requirements({"org.opencontainers.image.title": "postgres"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("disk-bytes", "much"), ("engines", "cpu"), ("compute-capabilities", "ampere")],
)
def test_malformed_requirements(name: str, value: str):
    written = {**requirement_annotations(NEEDS), f"{OURS}{name}": value}
    with pytest.raises(ImageInvalid, match=value):
        read_requirements(written)


def test_what_is_unknown_is_not_said():
    text = (
        b'[app]\nname = "a"\nversion = "1.0.0"\n[model]\npath = "m.onnx"\n'
        b'[pipeline]\ntask = "tensors"\n'
    )
    manifest = parse_manifest(text, Path("enginecrate.toml"))
    assert app_annotations(manifest, revision="", source="", created="1970-01-01T00:00:00Z") == {
        "org.opencontainers.image.created": "1970-01-01T00:00:00Z",
        "org.opencontainers.image.title": "a",
        "org.opencontainers.image.version": "1.0.0",
    }


def test_a_container_starts_as_nobody_with_one_port():
    config = container_config(stack_environment(get_stack("ort-cpu"), "3.11.2"), {"a": "b"})
    assert config.user == "65532:65532"
    assert config.exposed_ports == {"8000/tcp": {}}
    assert config.volumes == {"/var/cache/enginecrate": {}}
    assert config.stop_signal == "SIGTERM"
    assert config.healthcheck["Test"] == [
        "CMD",
        "/opt/enginecrate/bin/enginecrate",
        "--healthcheck",
    ]
    variables = dict(one.split("=", 1) for one in config.env)
    assert variables["ENGINECRATE_STACK"] == "ort-cpu"
    assert variables["ONNXRUNTIME_VERSION"] == get_stack("ort-cpu").versions["onnxruntime"]
    assert variables["PYTHON_VERSION"] == "3.11.2"
    assert not any(name.startswith("NVIDIA_") for name in variables)


def test_our_variables_win_over_those_of_a_base():
    below = {"PATH": "/usr/local/cuda/bin:/usr/bin", "HOME": "/root", "LD_LIBRARY_PATH": "/cuda"}
    variables = dict(one.split("=", 1) for one in container_config({"A": "1"}, {}, below).env)
    assert variables["PATH"] == "/opt/enginecrate/bin:/usr/local/cuda/bin:/usr/bin"
    assert (variables["HOME"], variables["LANG"]) == ("/var/cache/enginecrate", "C.UTF-8")
    assert (variables["LD_LIBRARY_PATH"], variables["A"]) == ("/cuda", "1")


def test_no_variable_of_an_image_stands_above_the_settings_file():
    """All but the stack: an image has the packages of one alone."""
    config = container_config(stack_environment(get_stack("ort-cpu"), "3.11.2"), {})
    names = {setting.environment for setting in SETTINGS}
    assert {one.split("=")[0] for one in config.env} & names == {"ENGINECRATE_STACK"}
    (entry,) = image_defaults().entries()
    assert entry.path == "opt/enginecrate/defaults.toml"
    assert tomllib.loads(entry.read().decode()) == IMAGE_DEFAULTS


@pytest.mark.parametrize(
    ("stack", "requirement"),
    [
        ("trtrtx17-cuda130", "cuda>=13.0"),
        # An older driver of the same major version is enough: CUDA's minor-version compatibility.
        ("trt86-cuda122", "cuda>=12.2 driver>=525.60.13"),
    ],
)
def test_gpu_stacks_name_what_they_need(stack: str, requirement: str):
    variables = stack_environment(get_stack(stack), "3.11.2")
    assert variables["NVIDIA_REQUIRE_CUDA"] == requirement
    assert variables["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert variables["CUDA_VERSION"] == get_stack(stack).versions["cuda"]


def test_versions_that_the_stack_locks():
    variables = stack_environment(get_stack("trt86-cuda122"), "3.11.2")
    assert (variables["TENSORRT_VERSION"], variables["CUDNN_VERSION"]) == ("8.6.1", "8.9.7")


def test_the_configuration_names_its_layers():
    layer = Layer("Debian base", Descriptor(media_type="x", digest="y", size=1), "sha256:1", 2)
    config = image_config(
        "linux/arm64/v8", "1970-01-01T00:00:00Z", container_config({}, {}), [layer]
    )
    assert (config.os, config.architecture, config.variant) == ("linux", "arm64", "v8")
    assert config.rootfs.diff_ids == ("sha256:1",)
    assert [line.created_by for line in config.history] == ["enginecrate: Debian base"]


def test_without_a_repository_nobody_knows_the_time(tmp_path: Path):
    origin = find_origin(tmp_path, {})
    assert (origin.revision, origin.created) == ("", "1970-01-01T00:00:00Z")


def test_the_time_can_be_given(tmp_path: Path):
    origin = find_origin(tmp_path, {"SOURCE_DATE_EPOCH": "1700000000"}, revision="abc")
    assert (origin.revision, origin.created) == ("abc", "2023-11-14T22:13:20Z")
    with pytest.raises(SettingInvalid, match="yesterday"):
        find_origin(tmp_path, {"SOURCE_DATE_EPOCH": "yesterday"})
