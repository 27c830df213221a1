import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("enginecrate")


@pytest.mark.parametrize(
    ("shell", "sign"),
    [("bash", "complete -o default"), ("zsh", "#compdef"), ("fish", "complete --command")],
)
def test_the_script_of_each_shell_is_printed(program, shell: str, sign: str):
    outcome = program(_ENGINECRATE_COMPLETE=f"source_{shell}")
    assert outcome.code == 0
    assert sign in outcome.out
    assert "enginecrate" in outcome.out


def test_show_completion_takes_the_shell_that_it_is_called_from():
    bash = shutil.which("bash")
    done = subprocess.run(
        [bash, "-c", f"{PROGRAM} --show-completion; true"], capture_output=True, text=True
    )
    assert "_ENGINECRATE_COMPLETE=complete_bash" in done.stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("enginecrate ma", ["manifest"]),
        ("enginecrate golden ", ["record", "check"]),
        ("enginecrate serve --http-", ["--http-port"]),
        ("enginecrate init x --sample d", ["detection"]),
    ],
)
def test_bash_completes(line: str, expected: list[str]):
    words = line.split(" ")
    script = (
        f'eval "$({PROGRAM} --show-completion)"\n'
        f"COMP_WORDS=({' '.join(words[:-1])} {words[-1] or chr(39) * 2})\n"
        f"COMP_CWORD={len(words) - 1}\n"
        "_enginecrate_completion enginecrate\n"
        'echo "${COMPREPLY[@]}"\n'
    )
    environment = {**os.environ, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [shutil.which("bash"), "--norc", "-c", script],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.stdout.split() == expected, done.stderr
