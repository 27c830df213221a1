"""The sample detector as an image, built as a user builds it: lock, then image build.

Packages, plans and layers stay in the user's cache folder between test runs; what they are named by
is their content, so an old one is never taken for a new one.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

SAMPLES = Path(__file__).parents[1] / "samples"
PROGRAM = Path(sys.executable).with_name("enginecrate")
TAG = "v1.0.0-ort-cpu"
PLATFORM = "linux/amd64"


def shared_cache() -> Path:
    """A cache folder of the user that all test runs share."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base, "enginecrate-tests")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run_program(
    *words: object, cache: Path | None = None, check: bool = True, timeout: float = 300,
    **environment: str,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run `enginecrate` in a process of its own, with the shared cache."""
    clean = {name: value for name, value in os.environ.items() if not _is_ours(name)}
    variables = clean | {"ENGINECRATE_CACHE_DIR": str(cache or shared_cache())} | environment
    command = [str(PROGRAM), *map(str, words)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def locked_sample(folder: Path, sample: str = "detection") -> Path:
    """A copy of a sample with its lock.

    The lock of an earlier run names the packages to take again; when other ones are needed now, it
    is resolved afresh.
    """
    project = folder / sample
    shutil.copytree(SAMPLES / sample, project, ignore=shutil.ignore_patterns("build", "*.lock"))
    remembered = shared_cache() / f"{sample}.lock"
    if remembered.is_file():
        shutil.copyfile(remembered, project / "enginecrate.lock")
    run_program("lock", "--project", project, "--platform", PLATFORM)
    partial = remembered.with_suffix(f".{os.getpid()}")
    shutil.copyfile(project / "enginecrate.lock", partial)
    partial.replace(remembered)
    return project


def build_sample_image(folder: Path) -> Path:
    """The layout with the sample detector's image for `ort-cpu` under `TAG`.

    folder: for the project; it is empty. The project lies in `folder / "detection"`.
    """
    project = locked_sample(folder)
    run_program("image", "build", "--project", project, "--platform", PLATFORM)
    return project / "build" / "image"


def _is_ours(name: str) -> bool:
    return name.startswith("ENGINECRATE_") or name == "SOURCE_DATE_EPOCH"
