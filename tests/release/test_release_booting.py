"""Starting images in a real container runtime. The programs in them are a few bytes long."""

import json
import struct

import pytest

from containers import Podman
from enginecrate.errors import VerificationFailed
from enginecrate.image.formats.oci import ContainerConfig
from enginecrate.image.transports.layout import Layout
from enginecrate.release.boot.container import ContainerRuntime, boot, find_runtime
from enginecrate.release.boot.requirements import Startable
from enginecrate.release.content.image import open_image
from enginecrate.release.create.release import create_release
from enginecrate.release.verify.verification import VerifyOptions, verify_image
from layered_images import Item
from tiny_release import (
    GOLDEN,
    KEY,
    TAG,
    add_image,
    app_files,
    base_files,
    faults,
    plan_files,
    release_image,
    trust,
)

READY = {"message": "ready", "golden_samples": 3}


def elf(code: bytes, data: bytes = b"") -> bytes:
    """A program for Linux on x86-64: one segment, entered at its start (System V ABI, ELF-64)."""
    start, size = 0x400000 + 120, 120 + len(code) + len(data)
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, start, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )  # fmt: skip
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, size, size, 4096)
    return header + segment + code + data


def says(*lines: dict | str, then: str = "wait") -> bytes:
    """Writes lines, then waits for ever, or ends."""
    text = "".join(
        f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines
    ).encode()
    end = {
        "wait": b"\xb8\x22\x00\x00\x00\x0f\x05\xeb\xf7",  # pause(), again and again
        "end": b"\xb8\x3c\x00\x00\x00\x31\xff\x0f\x05",  # exit(0)
    }[then]
    write = b"\xb8\x01\x00\x00\x00\xbf\x01\x00\x00\x00\x48\x8d\x35" + struct.pack(
        "<i", 7 + len(end)
    )
    write += b"\xba" + struct.pack("<I", len(text)) + b"\x0f\x05"
    return elf(write + end, text)


def exits(code: int) -> bytes:
    return elf(b"\xb8\x3c\x00\x00\x00\xbf" + struct.pack("<I", code) + b"\x0f\x05")


@pytest.fixture(scope="module")
def runtime(podman: Podman) -> ContainerRuntime:
    found = find_runtime(podman.environment)
    assert found is not None
    assert found.name == "podman"
    return found


def image_that(transport: Layout, program: bytes, health: int = 0, *, golden: bytes = GOLDEN):
    config = ContainerConfig(
        user="65532:65532", entrypoint=("/server",), healthcheck={"Test": ["CMD", "/health"]}
    )
    programs = [Item("server", program, 0o755), Item("health", exits(health), 0o755)]
    layers = [base_files(), app_files(golden=golden), plan_files(), programs]
    return add_image(transport, layers=layers, config=config)


def boot_it(tmp_path, runtime, program: bytes, health: int = 0, seconds: float = 30):
    transport = Layout(tmp_path / "layout", create=True)
    image = open_image(transport, image_that(transport, program, health))
    only = Startable(image.platforms[0])
    return boot(transport, only, runtime, memory_bytes=64 << 20, seconds=seconds)


def left_behind(podman: Podman) -> list[str]:
    shown = podman.run("ps", "--all", "--format", "{{.Names}}").stdout
    shown += podman.run("images", "--format", "{{.Repository}}").stdout
    return [line for line in shown.splitlines() if "enginecrate-verify" in line]


def test_ready_is_waited_for_and_nothing_is_left_behind(tmp_path, runtime, podman):
    outcome = boot_it(tmp_path, runtime, says("starting", {"message": "loading"}, READY))
    assert outcome.golden_samples == 3
    assert outcome.runtime == "podman"
    assert outcome.seconds > 0
    assert not left_behind(podman)


@pytest.mark.parametrize(
    ("program", "health", "words"),
    [
        (
            says({"message": "never ready: the golden samples differ"}),
            0,
            "the golden samples differ",
        ),
        (says("no such model", then="end"), 0, "it has ended; its log:\nno such model"),
        (says(READY), 1, "exec failed"),
        (b"not a program", 0, "exec format error"),
    ],
    ids=["never ready", "ends", "unhealthy", "no program"],
)
def test_images_that_do_not_become_ready(tmp_path, runtime, podman, program, health, words):
    with pytest.raises(VerificationFailed, match=words):
        boot_it(tmp_path, runtime, program, health)
    assert not left_behind(podman)


def test_a_program_that_is_not_there(tmp_path, runtime, podman):
    transport = Layout(tmp_path / "layout", create=True)
    config = ContainerConfig(user="65532:65532", entrypoint=("/nothing",))
    (only,) = open_image(transport, add_image(transport, config=config)).platforms
    with pytest.raises(VerificationFailed, match="/nothing"):
        boot(transport, Startable(only), runtime, memory_bytes=64 << 20)
    assert not left_behind(podman)


@pytest.mark.parametrize("what", ["gpus", "load", "memory", "space"])
def test_trouble_of_the_runtime_is_no_fault_of_the_image(
    tmp_path, runtime, podman, monkeypatch, what
):
    """It could not be looked at: skipped, and never failed."""
    transport = Layout(tmp_path / "layout", create=True)
    image_that(transport, says(READY))
    create_release(transport, [release_image(transport)], [KEY])
    environment, memory = dict(runtime.environment), 64 << 20
    if what == "gpus":
        only = open_image(transport, transport.resolve(TAG)).platforms[0]
        monkeypatch.setattr(
            "enginecrate.release.verify.boot.startable_here", lambda _: Startable(only, True)
        )
    if what == "memory":
        memory = 1
    if what == "load":
        environment["TMPDIR"] = str(tmp_path / "missing")
    if what == "space":
        monkeypatch.setattr("tempfile.tempdir", "/proc")
    broken = ContainerRuntime(runtime.program, environment)
    report = verify_image(
        transport, TAG, trust(),
        VerifyOptions(runtime=broken, audit=True, memory_bytes=memory),
    )  # fmt: skip
    rows = {one.name: one for one in report.checks}
    assert {rows[name].status for name in ("boot", "golden")} == {"skipped"}
    assert "the image could not be started here" in rows["boot"].detail
    assert report.verdict == "skipped"
    assert not left_behind(podman)


def test_one_that_is_too_slow(tmp_path, runtime, podman):
    with pytest.raises(VerificationFailed, match="it was not ready after 2 s"):
        boot_it(tmp_path, runtime, says("starting"), seconds=2)
    assert not left_behind(podman)


def test_the_whole_verification_with_a_boot(tmp_path, runtime):
    transport = Layout(tmp_path / "layout", create=True)
    image_that(transport, says(READY))
    create_release(transport, [release_image(transport)], [KEY])
    options = VerifyOptions(runtime=runtime, audit=True, memory_bytes=64 << 20)
    report = verify_image(transport, TAG, trust(), options)
    assert not faults(report)
    assert report.verdict == "passed"
    report.demand()


def test_golden_samples_that_are_not_proven(tmp_path, runtime):
    transport = Layout(tmp_path / "layout", create=True)
    image_that(transport, says({"message": "ready, but unproven: no samples"}))
    create_release(transport, [release_image(transport)], [KEY])
    report = verify_image(transport, TAG, trust(), VerifyOptions(runtime=runtime, audit=True))
    assert faults(report) == {
        "golden": "the release lists golden samples, and the container proved none"
    }


def test_an_app_without_samples_is_skipped_and_not_failed(tmp_path, runtime):
    transport = Layout(tmp_path / "layout", create=True)
    ready = says({"message": "ready, but unproven: no samples"})
    image_that(transport, ready, golden=b'{"format": 1, "samples": []}')
    created = create_release(transport, [release_image(transport)], [KEY])
    assert created.release.is_unproven
    report = verify_image(transport, TAG, trust(), VerifyOptions(runtime=runtime, audit=True))
    assert not faults(report)
    assert report.verdict == "skipped"
    (golden,) = [one for one in report.checks if one.status == "skipped"]
    assert golden.name == "golden"
    assert "no golden samples" in golden.detail


def test_what_was_tampered_with_is_never_started(tmp_path, runtime):
    transport = Layout(tmp_path / "layout", create=True)
    image_that(transport, says(READY))
    report = verify_image(transport, TAG, trust(), VerifyOptions(runtime=runtime, audit=True))
    rows = {one.name: one for one in report.checks}
    assert rows["boot"].status == "skipped"
    assert "was not started" in rows["boot"].detail


def test_an_image_for_another_machine(tmp_path, runtime):
    transport = Layout(tmp_path / "layout", create=True)
    add_image(transport, architecture="riscv64")
    create_release(transport, [release_image(transport)], [KEY])
    report = verify_image(transport, TAG, trust(), VerifyOptions(runtime=runtime, audit=True))
    assert report.verdict == "skipped"
    assert "not for this machine" in {one.name: one.detail for one in report.checks}["boot"]


def test_no_runtime_that_works(tmp_path):
    assert find_runtime({"PATH": str(tmp_path)}) is None
    broken = tmp_path / "podman"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    assert find_runtime({"PATH": str(tmp_path)}) is None


def test_what_is_started_does_not_get_the_passphrase(tmp_path):
    program = tmp_path / "podman"
    program.write_text("#!/bin/sh\nexec /usr/bin/env\n")
    program.chmod(0o755)
    environment = {"PATH": str(tmp_path), "ENGINECRATE_KEY_PASSPHRASE": "geheim", "OTHER": "x"}
    runtime = find_runtime(environment)
    assert runtime is not None
    assert "OTHER=x" in runtime.run("info")
    assert "geheim" not in runtime.run("info")
