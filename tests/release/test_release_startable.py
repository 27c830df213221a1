"""Where an image can be started: by processor, and by the GPUs that it is for."""

import os

import pytest

from enginecrate.errors import VerificationIncomplete
from enginecrate.image.formats.oci import ContainerConfig
from enginecrate.image.recipe.annotations import Requirements, requirement_annotations
from enginecrate.image.transports.layout import Layout
from enginecrate.release.boot import requirements as startable
from enginecrate.release.boot.container import ContainerRuntime, boot
from enginecrate.release.boot.requirements import Startable, startable_here
from enginecrate.release.content.image import OpenedImage, open_image
from enginecrate.stacks.machine.devices import Gpu, NvidiaFacts
from enginecrate.values import ComputeCapability
from tiny_release import add_image

L4, H200 = ComputeCapability(8, 9), ComputeCapability(9, 0)
NEEDS = Requirements(
    app="colours", version="1.2.0", stack="trtrtx17-cuda130", platforms=("linux/amd64",),
    backends=("tensorrt_rtx",), compute_capabilities=(ComputeCapability(8, 6), L4),
    minimum_driver="580.65",
)  # fmt: skip


@pytest.fixture
def for_gpus(tmp_path) -> OpenedImage:
    transport = Layout(tmp_path / "layout", create=True)
    config = ContainerConfig(user="65532:65532", labels=requirement_annotations(NEEDS))
    return open_image(transport, add_image(transport, config=config))


def have(monkeypatch, *capabilities: ComputeCapability, driver: str = "580.95.05") -> None:
    gpus = tuple(Gpu(number, "a GPU", one) for number, one in enumerate(capabilities))
    monkeypatch.setattr(startable, "probe_nvidia", lambda: NvidiaFacts(driver, gpus))


def test_without_a_gpu_an_image_for_gpus_is_not_started(for_gpus, monkeypatch):
    have(monkeypatch)
    assert startable_here(for_gpus) == (
        "the image is for GPUs, and this machine has none that can be used"
    )


def test_with_a_gpu_that_it_does_not_run_on(for_gpus, monkeypatch):
    have(monkeypatch, H200)
    words = "of compute capability 8.6, 8.9, and the first one of this machine has 9.0"
    assert words in startable_here(for_gpus)


def test_the_first_gpu_is_the_one_that_serves(for_gpus, monkeypatch):
    have(monkeypatch, H200, L4)
    assert "has 9.0" in startable_here(for_gpus)


def test_with_a_driver_that_is_too_old(for_gpus, monkeypatch):
    have(monkeypatch, L4, driver="470.1")
    assert startable_here(for_gpus) == (
        "the image needs the NVIDIA driver 580.65, and this machine has 470.1"
    )


def test_with_its_gpu_it_gets_the_gpus(for_gpus, monkeypatch):
    have(monkeypatch, L4, H200)
    found = startable_here(for_gpus)
    assert isinstance(found, Startable)
    assert found.gpus


def test_an_image_without_needs_starts_anywhere(tmp_path, monkeypatch):
    have(monkeypatch, H200)
    transport = Layout(tmp_path / "layout", create=True)
    found = startable_here(open_image(transport, add_image(transport)))
    assert isinstance(found, Startable)
    assert not found.gpus


@pytest.mark.parametrize(
    ("name", "flags"),
    [("podman", ["--device", "nvidia.com/gpu=all"]), ("docker", ["--gpus", "all"])],
)
def test_how_the_runtime_is_asked_for_gpus(for_gpus, tmp_path, name, flags):
    """What the command is: no machine at hand has a container runtime and a GPU."""
    program, asked = tmp_path / name, tmp_path / "asked"
    config = for_gpus.platforms[0].manifest.config.digest
    program.write_text(
        f'#!/bin/sh\ncase $1 in image) echo {config};; run) echo "$*" > {asked}; '
        "echo unresolvable CDI devices nvidia.com/gpu=all >&2; exit 126;; esac\n"
    )
    program.chmod(0o755)
    runtime = ContainerRuntime(str(program), dict(os.environ))
    transport = Layout(tmp_path / "layout")
    with pytest.raises(VerificationIncomplete, match="unresolvable CDI devices"):
        boot(transport, Startable(for_gpus.platforms[0], gpus=True), runtime)
    assert asked.read_text().split()[-3:-1] == flags
