"""Where an image can be started: by processor, and by the GPUs that it is for."""

import pytest

from enginecrate.image.oci import ContainerConfig
from enginecrate.image.places.layout import Layout
from enginecrate.image.recipe.annotations import Requirements, requirement_annotations
from enginecrate.release import startable
from enginecrate.release.booting import ContainerRuntime, boot
from enginecrate.release.opened import OpenedImage, open_image
from enginecrate.release.startable import Startable, startable_here
from enginecrate.stacks.devices import Gpu
from enginecrate.values import ComputeCapability
from tiny_release import add_image

L4, H200 = ComputeCapability(8, 9), ComputeCapability(9, 0)
NEEDS = Requirements(
    app="colours", version="1.2.0", stack="trtrtx17-cuda130", platforms=("linux/amd64",),
    backends=("tensorrt_rtx",), compute_capabilities=(ComputeCapability(8, 6), L4),
)  # fmt: skip


@pytest.fixture
def for_gpus(tmp_path) -> OpenedImage:
    place = Layout(tmp_path / "layout", create=True)
    config = ContainerConfig(user="65532:65532", labels=requirement_annotations(NEEDS))
    return open_image(place, add_image(place, config=config))


def have(monkeypatch, *capabilities: ComputeCapability) -> None:
    gpus = tuple(Gpu(number, "a GPU", one) for number, one in enumerate(capabilities))
    monkeypatch.setattr(startable, "probe_gpus", lambda: gpus)


def test_without_a_gpu_an_image_for_gpus_is_not_started(for_gpus, monkeypatch):
    have(monkeypatch)
    assert startable_here(for_gpus) == (
        "the image is for GPUs, and this machine has none that can be used"
    )


def test_with_a_gpu_that_it_does_not_run_on(for_gpus, monkeypatch):
    have(monkeypatch, H200)
    assert "of compute capability 8.6, 8.9, and this machine has 9.0" in startable_here(for_gpus)


def test_with_its_gpu_it_gets_the_gpus(for_gpus, monkeypatch):
    have(monkeypatch, H200, L4)
    found = startable_here(for_gpus)
    assert isinstance(found, Startable)
    assert found.gpus


def test_an_image_without_needs_starts_anywhere(tmp_path, monkeypatch):
    have(monkeypatch, H200)
    place = Layout(tmp_path / "layout", create=True)
    found = startable_here(open_image(place, add_image(place)))
    assert isinstance(found, Startable)
    assert not found.gpus


@pytest.mark.parametrize(
    ("name", "flags"),
    [("podman", ["--device", "nvidia.com/gpu=all"]), ("docker", ["--gpus", "all"])],
)
def test_how_the_runtime_is_asked_for_gpus(for_gpus, tmp_path, monkeypatch, name, flags):
    """What the command would be: no machine at hand has a container runtime and a GPU."""
    asked: list[tuple[str, ...]] = []
    runtime = ContainerRuntime(f"/usr/bin/{name}", {})
    place = Layout(tmp_path / "layout")

    def run(self: ContainerRuntime, *words: str, seconds: float = 0) -> str:
        asked.append(words)
        if words[:2] == ("image", "inspect"):
            return for_gpus.platforms[0].manifest.config.digest
        if words[0] == "run":
            raise RuntimeError("started")
        return ""

    monkeypatch.setattr(ContainerRuntime, "run", run)
    with pytest.raises(RuntimeError, match="started"):
        boot(place, Startable(for_gpus.platforms[0], gpus=True), runtime)
    (started,) = [words for words in asked if words[0] == "run"]
    assert list(started[-3:-1]) == flags
