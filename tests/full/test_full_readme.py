"""The README as a new user walks it: line by line, by copy and paste, from an empty home."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from containers import Podman
from running import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def lines(text: str, first: str, last: str) -> list[str]:
    """What the blocks between two headings say to a shell."""
    part = text[text.index(f"## {first}") : text.index(f"## {last}")]
    return [
        line for block in re.findall(r"(?ms)^```sh\n(.*?)^```", part) for line in block.split("\n")
    ]


def test_both_languages_have_the_same_lines():
    chinese = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")

    def commands(text: str) -> list[str]:
        blocks = re.findall(r"(?ms)^```sh\n(.*?)^```", text)
        return [line.partition(" #")[0].rstrip() for block in blocks for line in block.splitlines()]

    assert commands(chinese) == commands(README)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_every_line_works_in_the_order_given(tmp_path: Path, podman: Podman):
    clone, home = tmp_path / "clone", tmp_path / "home"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    home.mkdir()
    kept = {
        name: text
        for name, text in podman.environment.items()
        if name == "PATH" or name.startswith(("PIP_", "SSL_", "CONTAINERS_"))
    }
    kept["PATH"] = ":".join(
        folder for folder in kept["PATH"].split(":") if not folder.startswith(str(ROOT))
    )
    script = ["make demo ONCE=1", *lines(README, "Install", "Work on it")]
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", "\n".join(script)],
        cwd=clone,
        env={
            **kept,
            "HOME": str(home),
            "ENGINECRATE_KEY_PASSPHRASE": "correct horse battery",
            "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert done.stdout.count('"label": "person"') + done.stdout.count('"label":"person"') >= 2
    assert "too few photos to say" in done.stdout
