"""A new user's first minutes: a clean clone, an empty home, one command."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from running import ROOT


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_demo_from_a_clean_clone(tmp_path: Path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    kept = {
        name: text
        for name, text in os.environ.items()
        if name == "PATH" or name.startswith(("PIP_", "SSL_"))
    }
    outside = ":".join(
        folder for folder in kept["PATH"].split(":") if not folder.startswith(str(ROOT))
    )
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        ["make", "demo", "ONCE=1"],
        cwd=clone,
        env={**kept, "PATH": outside, "HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "proven" in done.stdout
    assert "person" in done.stdout
    assert (clone / "demo" / "annotated.png").stat().st_size > 10_000
    shutil.rmtree(clone)
