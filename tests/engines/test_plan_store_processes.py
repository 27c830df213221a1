"""Several processes, as several containers on one volume: who builds, who waits, who dies."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tiny_plans import DATA, built, key_of

from enginecrate.engines.cache.plans import PlanStore
from enginecrate.errors import CacheUnusable
from enginecrate.files.locks import file_lock

HERE = Path(__file__).parent
KEY = key_of(built())

OBTAIN = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(HERE)!r})
from enginecrate.engines.cache.plans import PlanStore
from tiny_plans import built, key_of

def build():
    print("building", flush=True)
    sys.stdin.readline()
    return built()

def progress(step, done, total):
    print("waiting", flush=True)

print("started", flush=True)
sys.stdin.readline()
plan, made = PlanStore(Path(sys.argv[1])).obtain(key_of(built()), build, progress)
print("built" if made else "found", plan.path.read_bytes() == built().data, flush=True)
"""


class Process:
    def __init__(self, cache: Path) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", OBTAIN, str(cache)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def says(self) -> str:
        assert self.popen.stdout
        return self.popen.stdout.readline().strip()

    def go(self) -> None:
        assert self.popen.stdin
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()


@contextmanager
def processes(count: int, cache: Path) -> Iterator[list[Process]]:
    with ExitStack() as stack:
        started = [Process(cache) for _ in range(count)]
        for one in started:
            stack.enter_context(one.popen)
            stack.callback(one.popen.kill)
        for one in started:
            assert one.says() == "started"
        yield started


def asked_at_once(started: list[Process]) -> tuple[Process, list[Process]]:
    """Let all of them ask for the plan; who builds it, and who waits."""
    for one in started:
        one.go()
    said = {one: one.says() for one in started}
    builders = [one for one, word in said.items() if word == "building"]
    waiters = [one for one, word in said.items() if word == "waiting"]
    assert (len(builders), len(waiters)) == (1, len(started) - 1)
    return builders[0], waiters


def test_six_processes_ask_at_once_and_one_builds(tmp_path: Path):
    with processes(6, tmp_path) as started:
        builder, waiters = asked_at_once(started)
        builder.go()
        assert builder.says() == "built True"
        assert [one.says() for one in waiters] == ["found True"] * 5
    assert [path.name for path in (tmp_path / "plans").iterdir()] == [KEY]


def test_when_the_builder_is_killed_another_takes_over(tmp_path: Path):
    with processes(3, tmp_path) as started:
        builder, waiters = asked_at_once(started)
        builder.popen.kill()
        builder.popen.wait()
        words: list[str] = []
        said = threading.Condition()

        def listen(one: Process) -> None:
            while word := one.says():
                with said:
                    words.append(word)
                    said.notify_all()
                if word == "building":
                    one.go()

        threads = [threading.Thread(target=listen, args=(one,)) for one in waiters]
        for thread in threads:
            thread.start()
        with said:
            assert said.wait_for(lambda: len(words) == 3, timeout=30)
        for thread in threads:
            thread.join()
    assert sorted(words) == ["building", "built True", "found True"]
    assert (tmp_path / "plans" / KEY / "plan.onnx").read_bytes() == DATA
    assert [path.name for path in (tmp_path / "plans").iterdir()] == [KEY]


def test_threads_of_one_process_wait_for_each_other(tmp_path: Path):
    """Many of them, so that lock files are made and removed all the time."""
    inside, most, turns = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, turns
        for _ in range(50):
            with file_lock(tmp_path / ".key.lock"):
                with guard:
                    inside += 1
                    most = max(most, inside)
                    turns += 1
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, turns) == (1, 200)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_build_frees_the_lock(tmp_path: Path):
    store = PlanStore(tmp_path)

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.obtain(KEY, fail)  # type: ignore[arg-type]
    plan, made = store.obtain(KEY, built)
    assert made is not None
    assert store.obtain(KEY, built) == (plan, None)


def test_a_cache_that_cannot_be_made_has_no_lock(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(CacheUnusable, match="cannot write the plan's lock"):  # noqa: SIM117
        with PlanStore(tmp_path / "file").building(KEY):
            pass


PUT = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(HERE)!r})
from enginecrate.engines.cache.plans import PlanStore
from enginecrate.errors import CacheFull
from tiny_plans import built, key_of
store = PlanStore(Path(sys.argv[1]))
small = built(b"small")
store.put(key_of(small), small)
large = built(bytes(int(sys.argv[2])))
try:
    store.put(key_of(large), large)
except CacheFull as exc:
    print(exc)
left = sorted(path.name for path in (Path(sys.argv[1]) / "plans").iterdir())
assert left == [key_of(small)], left
assert store.get(key_of(small)) is not None
"""


def put_large(prefix: list[str], cache: Path, size: int) -> str:
    done = subprocess.run(
        [*prefix, sys.executable, "-c", PUT, str(cache), str(size)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_full_disk_is_said_and_the_cache_is_unharmed(tmp_path: Path):
    """On a file system of 256 KiB, which a new mount namespace allows without being root."""
    mount = f'mount -t tmpfs -o size=256k tmpfs {tmp_path} && exec "$@"'
    prefix = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    said = put_large(prefix, tmp_path, 400_000)
    assert "No space left on device; 400,000 bytes are needed, and " in said
    assert "are free on its disk; make room there" in said
    assert "cache_dir" in said


def test_a_file_size_limit_is_a_full_disk_too(tmp_path: Path):
    limit = ["prlimit", "--fsize=100000"]
    said = put_large(limit, tmp_path, 400_000)
    assert "File too large; 400,000 bytes are needed" in said
