"""The data files say what is plausible, and where it comes from."""

import re
from pathlib import Path

import pytest

from enginecrate.errors import GpuUnknown, StackUnknown
from enginecrate.stacks.catalog import Stack, get_stack, load_stacks
from enginecrate.stacks.gpus import capability_of, get_gpu, load_gpus
from enginecrate.stacks.versions import numbers
from enginecrate.values import ComputeCapability

PAGE = (Path(__file__).parents[2] / "docs" / "stacks.md").read_text(encoding="utf-8")
STACKS = list(load_stacks().values())
ARCHITECTURES = {
    "Volta": {(7, 0), (7, 2)},
    "Turing": {(7, 5)},
    "Ampere": {(8, 0), (8, 6), (8, 7)},
    "Ada Lovelace": {(8, 9)},
    "Hopper": {(9, 0)},
    "Blackwell": {(10, 0), (10, 3), (11, 0), (12, 0), (12, 1)},
}


def test_the_stacks_that_there_are():
    assert {stack.name for stack in STACKS} == {
        "ort-cpu",
        "ort-cuda130",
        "trt1016-cuda130",
        "trt103-jetpack62",
        "trt114-cuda130",
        "trt86-cuda122",
        "trtrtx17-cuda130",
    }


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_a_stack_is_whole(stack: Stack):
    assert stack.sources
    for source in stack.sources:
        assert re.fullmatch(r"https://[\w.-]+\.[a-z]+/\S+|pkg:pypi/[\w.-]+@[\w.]+", source.url)
        assert source.fact
    for backend in {rung.backend for rung in stack.rungs}:
        assert stack.versions[backend]
    for text in stack.versions.values():
        assert numbers(text)
    assert len({package.name for package in stack.packages}) == len(stack.packages)
    assert set(stack.unconfirmed) <= set(stack.compute_capabilities)
    assert stack.rungs[-1].device == "cpu", "the last resort"
    assert stack.installable or stack.note, "it says where its packages come from"


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_a_stack_for_gpus_says_on_what_it_runs(stack: Stack):
    known = {gpu.compute_capability for gpu in load_gpus().values()}
    assert bool(stack.compute_capabilities) == stack.is_gpu
    assert set(stack.compute_capabilities) <= known
    assert list(stack.compute_capabilities) == sorted(stack.compute_capabilities)
    if stack.is_gpu and "jetpack" not in stack.versions:
        assert numbers(stack.minimum_driver) > (500,)
        assert "cuda" in stack.versions
    if stack.toolkit_driver:
        assert numbers(stack.toolkit_driver) > numbers(stack.minimum_driver)


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_the_libraries_of_a_stack_share_one_cuda(stack: Stack):
    """A library for CUDA 13 cannot join a stack of CUDA 12."""
    major = stack.versions.get("cuda", "").partition(".")[0]
    named = re.findall(r"-cu(\d\d)\b", " ".join(package.name for package in stack.packages))
    assert set(named) <= {major}
    unnamed = [package for package in stack.packages if package.name == "nvidia-cuda-runtime"]
    assert all(package.version.startswith(f"{major}.") for package in unnamed)
    onnxruntime = [package.name for package in stack.packages if "onnxruntime" in package.name]
    assert len(onnxruntime) == 1
    assert (onnxruntime == ["onnxruntime-gpu"]) == any(
        (rung.backend, rung.device) == ("onnxruntime", "gpu") for rung in stack.rungs
    )


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
def test_the_page_about_stacks_knows_it(stack: Stack):
    rows = [line for line in PAGE.splitlines() if line.startswith(f"| `{stack.name}` ")]
    assert len(rows) == 1
    assert stack.minimum_driver in rows[0]
    assert stack.versions.get("cuda", "") in rows[0]


def test_the_pair_that_no_document_names_is_marked():
    stack = get_stack("trt86-cuda122")
    assert (stack.versions["cuda"], stack.versions["tensorrt"]) == ("12.2", "8.6.1")
    assert "12.1 update 1" in stack.note
    assert any("minor-version compatibility" in fact for fact in stack.unverified)


def test_tensorrt_rtx_and_the_gpus_that_nobody_has_confirmed():
    stack = get_stack("trtrtx17-cuda130")
    assert stack.unconfirmed == ((7, 5), (8, 0))
    assert (9, 0) not in stack.compute_capabilities


def test_the_digest_follows_what_runs_and_not_the_words():
    import msgspec

    stack = get_stack("ort-cpu")
    assert msgspec.structs.replace(stack, note="other words").digest == stack.digest
    changed = msgspec.structs.replace(stack, versions={**stack.versions, "python": "3.12"})
    assert changed.digest != stack.digest


def test_gpus_have_names_of_their_own_and_plausible_facts():
    names = [name.lower() for gpu in load_gpus().values() for name in (gpu.name, *gpu.aliases)]
    assert len(set(names)) == len(names)
    assert len(load_gpus()) == len({gpu.name for gpu in load_gpus().values()})
    for gpu in load_gpus().values():
        assert tuple(gpu.compute_capability) in ARCHITECTURES[gpu.architecture], gpu.name
        assert list(gpu.memory_gib) == sorted(set(gpu.memory_gib)), gpu.name
        assert all(2 <= size <= 512 for size in gpu.memory_gib), gpu.name
        assert gpu.source.startswith("https://developer.nvidia.com/"), gpu.name


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("A10", (8, 6)), ("A100", (8, 0)), ("L4", (8, 9)), ("T4", (7, 5)), ("H100", (9, 0)),
        ("H200", (9, 0)), ("L40S", (8, 9)), ("RTX 3090", (8, 6)), ("RTX 4090", (8, 9)),
        ("RTX 5090", (12, 0)), ("RTX A6000", (8, 6)), ("RTX 6000 Ada", (8, 9)),
        ("RTX PRO 6000 Blackwell", (12, 0)), ("B200", (10, 0)), ("V100", (7, 0)),
        ("AGX Xavier", (7, 2)), ("AGX Orin", (8, 7)), ("Orin Nano", (8, 7)), ("Thor", (11, 0)),
        ("NVIDIA GeForce RTX 4090", (8, 9)), ("Tesla T4", (7, 5)), ("rtx4070ti-super", (8, 9)),
        ("NVIDIA A100-SXM4-80GB", (8, 0)), ("8.6", (8, 6)), ("sm_120", (12, 0)),
    ],
)  # fmt: skip
def test_gpus_are_found_as_people_write_them(name: str, capability: tuple[int, int]):
    assert capability_of(name) == ComputeCapability(*capability)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(GpuUnknown, match="did you mean 'RTX 4090'"):
        get_gpu("RTX 4900")
    with pytest.raises(StackUnknown, match="did you mean 'trt86-cuda122'"):
        get_stack("trt86-cuda120")
