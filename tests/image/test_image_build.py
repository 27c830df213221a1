"""The sample detector as an image: what is in it, and that it is always the same."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from enginecrate.errors import ArtifactMissing, LockStale, RecipeInvalid
from enginecrate.image.annotations import read_requirements
from enginecrate.image.assemble import BuiltImage, Workplace, build_image
from enginecrate.image.base_image import open_base
from enginecrate.image.facts import read_facts
from enginecrate.image.image_plans import ImagePlan
from enginecrate.image.layers.cache import LayerCache
from enginecrate.image.layers.compression import Compression
from enginecrate.image.layers.writing import write_layer
from enginecrate.image.layout import Layout
from enginecrate.image.multi_platform import write_index
from enginecrate.image.oci import ImageIndex, ImageManifest, decode, digest_of
from enginecrate.image.origin import Origin
from enginecrate.image.platform_plan import ImageRequest, plan_platform
from enginecrate.image.resolve import ArtifactCache, PackageSources
from enginecrate.image.resolve.images import image_section, inputs_digest
from enginecrate.manifest import load_manifest
from enginecrate.stacks.catalog import get_stack
from enginecrate.stacks.lock import LockedImage, check_lock, load_lock, make_lock, render_lock
from sample_image import TAG, run_program, shared_cache
from small_images import add_image

ORIGIN = Origin("", "1970-01-01T00:00:00Z")
MB = 1_000_000


@pytest.fixture(scope="module")
def sample(built_image: Path) -> Path:
    """The project of the built image; not to be changed."""
    return built_image.parents[1]


@pytest.fixture
def project(sample: Path, tmp_path: Path) -> Path:
    """A copy of it without what was built."""
    ignored = shutil.ignore_patterns("build")
    return Path(shutil.copytree(sample, tmp_path / "copy", ignore=ignored))


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    """A new layout, with the packages and layers of all test runs."""
    cache = shared_cache()
    artifacts = ArtifactCache(cache, sources=PackageSources(cache / "apt", offline=True))
    return Workplace(
        Layout(tmp_path / "layout", create=True), artifacts, LayerCache(cache / "layers"),
        cache / "layers",
    )  # fmt: skip


def request_for(project: Path) -> ImageRequest:
    """What `image build` asks for, with the plans of the sample's build."""
    file = load_manifest(project)
    lock = check_lock(file)
    assert lock is not None
    report = sorted(project.parents[0].rglob("build/report.json"))
    assert report or project
    return ImageRequest(
        file=file, lock=lock, stack="ort-cpu", platforms=("linux/amd64",), plans=sample_plans(project),
        origin=ORIGIN,
    )  # fmt: skip


def sample_plans(project: Path) -> tuple[ImagePlan, ...]:
    """The plans in the shared cache that are of this project's model."""
    file = load_manifest(project)
    wanted = {target["plan"]["key"] for target in _report(file.root)["result"]["targets"]}
    return tuple(ImagePlan.read(shared_cache() / "plans" / key) for key in sorted(wanted))


_REPORTS: dict[str, Any] = {}


def _report(root: Path) -> dict[str, Any]:
    """The build's report: of the project itself, or of the sample that it is a copy of."""
    own = root / "build" / "report.json"
    if own.is_file():
        _REPORTS["sample"] = json.loads(own.read_bytes())
    return _REPORTS["sample"]


def manifest_of(layout: Path, tag: str = TAG) -> ImageManifest:
    place = Layout(layout)
    return decode(place.read_manifest(digest_of(place.resolve(tag))), ImageManifest, tag)


def blobs_of(layout: Path) -> dict[str, int]:
    """Everything that pushing the image would send: digests and sizes."""
    place = Layout(layout)
    found = place.resolve(TAG)
    manifest = manifest_of(layout)
    listed = (found, manifest.config, *manifest.layers)
    return {one.digest: one.size for one in listed}
