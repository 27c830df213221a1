"""What is checked before a plan of TensorRT is loaded."""

import contextlib
from pathlib import Path

import msgspec
import pytest

from enginecrate.engines.base import BuiltPlan, Plan, RunOptions
from enginecrate.engines.tensorrt.backend import TensorRtBackend
from enginecrate.engines.tensorrt.bindings import Library, load_library
from enginecrate.engines.tensorrt.capabilities import capabilities_of
from enginecrate.engines.tensorrt.compatibility import check_plan, runs_on
from enginecrate.engines.tensorrt.loader import check_header, read_weights
from enginecrate.engines.tensorrt.messages import make_logger, plain
from enginecrate.errors import BackendUnavailable, PlanInvalid, PlanMismatch
from enginecrate.values import ComputeCapability, Digest, PlanInfo
from tensorrt_helpers import RTX, built, one_gpu, planned
from tiny_models import wordy_linear

AMPERE = ComputeCapability(8, 6)


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> BuiltPlan:
    return built(wordy_linear(), tmp_path_factory.mktemp("linear"))


def library(version: str, backend: str = "tensorrt") -> Library:
    """A version of TensorRT that is not installed: its name, number and line of the table."""
    return Library(backend, version, None, capabilities_of(backend, version))  # type: ignore[arg-type]


def check(info: PlanInfo, here: Library, capability: ComputeCapability = AMPERE) -> None:
    check_plan(info, here, "linux/amd64", capability, "Some GPU")


def sidecar(linear: BuiltPlan, **changes: object) -> PlanInfo:
    changes = {"backend": "tensorrt", "backend_version": "10.16.1.11", **changes}
    return msgspec.structs.replace(linear.info, platform="linux/amd64", **changes)


def test_a_plan_of_this_machine_passes(linear: BuiltPlan):
    check(sidecar(linear), library("10.16.1.11"))


@pytest.mark.parametrize(
    ("made", "here", "compatible", "fits"),
    [
        ("10.16.1.11", "10.3.0", False, False),
        ("10.3.0", "10.16.1.11", False, False),
        ("10.3.0", "10.16.1.11", True, True),
        ("8.6.1", "11.4.0.106", True, True),
        ("11.4.0.106", "10.16.1.11", True, False),
    ],
)
def test_versions(linear: BuiltPlan, made: str, here: str, compatible: bool, fits: bool):
    info = sidecar(linear, backend_version=made, version_compatible=compatible)
    if fits:
        check(info, library(here))
        return
    with pytest.raises(PlanMismatch, match=f"{made} for this version.*, here is {here}"):
        check(info, library(here))


@pytest.mark.parametrize(
    ("device", "level", "gpu", "fits"),
    [
        ("sm86", "none", (8, 6), True),
        ("sm86", "none", (8, 9), False),
        ("sm86", "same_compute_capability", (8, 6), True),
        ("sm86", "same_compute_capability", (8, 9), False),
        ("sm80", "ampere_plus", (9, 0), True),
        ("sm90", "ampere_plus", (8, 0), True),
        ("sm80", "ampere_plus", (7, 5), False),
        ("sm75", "none", (8, 0), False),
        ("cpu", "none", (8, 0), False),
    ],
)
def test_gpus(linear: BuiltPlan, device: str, level: str, gpu: tuple[int, int], fits: bool):
    info = sidecar(linear, device=device, hardware_compatibility=level)
    assert runs_on(info, ComputeCapability(*gpu)) is fits


def test_everything_that_does_not_match_is_said_at_once(linear: BuiltPlan):
    info = msgspec.structs.replace(sidecar(linear), platform="linux/arm64", device="sm87")
    with pytest.raises(PlanMismatch) as caught:
        check(info, library("11.4.0.106"), ComputeCapability(9, 0))
    for words in ("10.16.1.11", "11.4.0.106", "linux/arm64", "sm87", "sm90 (Some GPU)",
                  "build it for this machine"):  # fmt: skip
        assert words in str(caught.value)


def test_the_wrong_backend(linear: BuiltPlan, tmp_path: Path):
    other = msgspec.structs.replace(linear.info, backend="tensorrt")
    with pytest.raises(PlanMismatch, match="built for tensorrt, here is tensorrt_rtx"):
        RTX.load(Plan(tmp_path / "absent", other), RunOptions())


def test_mismatches_are_found_before_the_plan_is_read(linear: BuiltPlan, tmp_path: Path):
    ada = TensorRtBackend("tensorrt_rtx", lambda: one_gpu(8, 9))
    with pytest.raises(PlanMismatch, match=r"built for sm86, here is sm89 \(Some GPU\)"):
        ada.load(Plan(tmp_path / "absent", linear.info), RunOptions())
    with pytest.raises(BackendUnavailable, match="no GPU 3; this machine has 1"):
        ada.load(Plan(tmp_path / "absent", linear.info), RunOptions(device=3))


def test_a_damaged_plan_is_found_before_the_library_sees_it(linear: BuiltPlan, tmp_path: Path):
    ampere = TensorRtBackend("tensorrt_rtx", lambda: one_gpu(8, 6))
    plan = planned(linear, tmp_path)
    data = bytearray(plan.path.read_bytes())
    data[len(data) // 2] ^= 1
    plan.path.write_bytes(data)
    with pytest.raises(PlanInvalid, match=r"is damaged.*build it again"):
        ampere.load(plan, RunOptions())
    plan.path.unlink()
    with pytest.raises(PlanInvalid, match="cannot read the plan"):
        ampere.load(plan, RunOptions())


def test_without_a_driver_nothing_is_loaded(linear: BuiltPlan, tmp_path: Path):
    with pytest.raises(BackendUnavailable, match="no NVIDIA driver here; install one"):
        RTX.load(planned(linear, tmp_path), RunOptions())


def test_bytes_that_are_no_plan_are_refused_by_the_librarys_own_check():
    real = load_library("tensorrt_rtx")
    runtime = real.api.Runtime(make_logger(real.api))
    with pytest.raises(PlanInvalid, match=r"its bytes are no plan.*build it again"):
        check_header(real, runtime, b"no plan at all" * 10)


def test_the_librarys_check_of_a_real_plan_on_this_machine(linear: BuiltPlan):
    """Whether it fits this machine or not, it is known as a plan."""
    real = load_library("tensorrt_rtx")
    runtime = real.api.Runtime(make_logger(real.api))
    with contextlib.suppress(PlanMismatch):  # and never PlanInvalid
        check_header(real, runtime, linear.data)


def test_weights_for_a_plan_without_them(linear: BuiltPlan, tmp_path: Path):
    model = tmp_path / "graph.onnx"
    model.write_bytes(b"the graph")
    info = msgspec.structs.replace(
        linear.info, weights="stripped", graph_digest=str(Digest.of(b"the graph"))
    )
    assert read_weights(info, model) == b"the graph"
    with pytest.raises(PlanMismatch, match="no ONNX graph was given"):
        read_weights(info, None)
    with pytest.raises(PlanInvalid, match="cannot read the plan's weights"):
        read_weights(info, tmp_path / "absent")
    model.write_bytes(b"another graph")
    with pytest.raises(PlanMismatch, match="is another one; build the plan again"):
        read_weights(info, model)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Network has dynamic "
            "or shape inputs, but no optimization profile has been defined. In validate at "
            "/_src/optimizer/api/network.cpp:4023)",
            "API Usage Error (Network has dynamic or shape inputs, but no optimization profile "
            "has been defined.",
        ),
        ("ModelImporter.cpp:151: ERROR: wrong", "ERROR: wrong"),
    ],
)
def test_messages_without_places_in_foreign_sources(said: str, words: str):
    assert plain(said) == words


def test_harmless_complaints_about_the_missing_driver_are_left_out():
    real = load_library("tensorrt_rtx")
    logger = make_logger(real.api)
    severity = real.api.ILogger.Severity
    logger.log(severity.ERROR, "Cuda Runtime (... (cudaError 35: driver version is insufficient))")
    logger.log(severity.ERROR, "a real one")
    logger.log(severity.ERROR, "a real one")
    logger.log(severity.INFO, "Total Weights Memory: 5 bytes")
    assert (logger.errors, logger.notes) == (["a real one"], ["Total Weights Memory: 5 bytes"])  # type: ignore[attr-defined]
