"""The program where no thread can be started."""

import subprocess
import sys

import pytest

_START = """
import ctypes, os, struct, sys
# BPF: load the number of the system call; is it 435 (clone3)? Answer ERRNO of EPERM, else ALLOW.
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 435), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
header = struct.pack("HL", len(code), ctypes.addressof(program))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, ctypes.create_string_buffer(header), 0, 0) == 0  # PR_SET_SECCOMP
os.execv(sys.executable, [sys.executable, "-c",
    "import sys\\nfrom enginecrate.cli.entrypoint import main\\nsys.exit(main())", *sys.argv[1:]])
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _START, *words], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("words", [(), ("--doctor",), ("--calibrate", "/data"), ("--bench",)])
def test_a_profile_that_forbids_clone3_is_named(words: tuple[str, ...]):
    done = run(*words)
    assert done.returncode != 70
    (line,) = done.stderr.splitlines()
    assert "the container's seccomp profile answers EPERM to the system call clone3" in line
    assert "Docker 20.10.10" in line


def test_what_needs_no_thread_works():
    assert run("--version").stdout.startswith("enginecrate ")
    done = run("--healthcheck")
    assert done.returncode == 1
    assert "no answer from" in done.stderr
