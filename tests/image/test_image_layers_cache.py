"""Compressors are locked; finished layers survive a build that was killed; memory stays small."""

import errno
import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from layer_tools import open_layer, write

from enginecrate.errors import RecipeInvalid
from enginecrate.image.formats.oci import digest_of
from enginecrate.image.layers.cache import LayerCache
from enginecrate.image.layers.compression import Compression
from enginecrate.image.layers.entries import Entry, LayerRecipe, RegularFile
from enginecrate.image.layers.files import BytesContents, EntryContents
from enginecrate.image.layers.writer import write_layer, write_layers
from enginecrate.image.transports.layout import Layout
from peak_memory import PEAK_KILOBYTES


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout", create=True)


class Counted:
    """Contents that count how often they are read, and may fail."""

    def __init__(self, name: str, *, fails: bool = False) -> None:
        self.name, self.fails, self.read = name, fails, 0

    def __str__(self) -> str:
        return self.name

    @property
    def key(self) -> str:
        return self.name

    def entries(self) -> Iterator[Entry]:
        self.read += 1
        if self.fails:
            raise KeyboardInterrupt
        yield RegularFile(self.name, self.name.encode() * 1000)


def test_a_compression_reads_what_it_wrote():
    for text in ("zstd 1.5.7 level 15", "gzip 1.2.13 level 9", "gzip 1.3.0.zlib-ng level 1"):
        assert str(Compression.parse(text)) == text
    for text in ("zstd", "zstd 1.5.7", "zstd 1.5.7 level 20", "gzip 1.2 level 0", "xz 5 level 1"):
        with pytest.raises(RecipeInvalid, match="not a compression"):
            Compression.parse(text)


@pytest.mark.parametrize("text", ["zstd 1.0.1 level 9", "gzip 0.9 level 9"])
def test_another_library_is_refused_and_the_cure_is_named(layout: Layout, text: str):
    recipe = LayerRecipe("a", (BytesContents("a", {"a": b""}),))
    with pytest.raises(RecipeInvalid, match=r"diffIDs\) would be the same: install") as caught:
        write_layer(recipe, layout, Compression.parse(text))
    assert text.split(" level")[0] in str(caught.value)


@pytest.mark.parametrize("how", ["zstd", "gzip"])
def test_layers_read_back(layout: Layout, how: str):
    files = {f"d/{n}": os.urandom(10) * n for n in range(0, 3000, 111)}
    layer = write(layout, BytesContents("files", files), how=how)
    assert layer.descriptor.media_type.endswith(how)
    with open_layer(layout, layer) as tar:
        assert {name: tar.extractfile(name).read() for name in files} == files


def test_a_model_and_its_plan_are_paid_once(layout: Layout):
    model = random.Random(1).randbytes(20_000_000)
    plan = model[:9_000_000] + b"a few bytes of another header" + model[9_000_000:]
    layer = write(layout, BytesContents("both", {"a/model.onnx": model, "z/plan.onnx": plan}))
    assert layer.descriptor.size < 20_100_000


def test_a_cached_layer_is_not_made_again(layout: Layout, tmp_path: Path):
    cache, contents = LayerCache(tmp_path / "cache"), Counted("a")
    first = write(layout, contents, cache=cache)
    other = Layout(tmp_path / "other", create=True)
    assert write(other, contents, cache=cache) == first
    assert contents.read == 1
    assert other.blob_path(digest_of(first.descriptor)).is_file()


def test_another_compression_is_another_layer(layout: Layout, tmp_path: Path):
    cache, contents = LayerCache(tmp_path / "cache"), Counted("a")
    one = write(layout, contents, cache=cache)
    two = write(layout, contents, cache=cache, how="gzip")
    assert one.diff_id == two.diff_id
    assert contents.read == 2


def test_a_damaged_cache_is_noticed_and_mended(layout: Layout, tmp_path: Path):
    cache, contents = LayerCache(tmp_path / "cache"), Counted("a")
    first = write(layout, contents, cache=cache)
    (stored,) = (tmp_path / "cache").glob("*.layer")
    data = bytearray(stored.read_bytes())
    data[len(data) // 2] ^= 1
    stored.unlink()
    stored.write_bytes(data)
    other = Layout(tmp_path / "other", create=True)
    assert write(other, contents, cache=cache) == first
    assert contents.read == 2
    assert write(Layout(tmp_path / "third", create=True), contents, cache=cache) == first
    assert contents.read == 2


def test_what_is_no_note_is_made_again(layout: Layout, tmp_path: Path):
    cache, contents = LayerCache(tmp_path / "cache"), Counted("a")
    write(layout, contents, cache=cache)
    (note,) = (tmp_path / "cache").glob("*.json")
    note.write_text("{")
    write(layout, contents, cache=cache)
    assert contents.read == 2


class Endless:
    """One file that would take hours to compress; says on standard output that it has begun."""

    size = 1 << 50
    key = "sha256:" + "1" * 64

    def entries(self) -> Iterator[Entry]:
        yield RegularFile("endless", self)

    def pieces(self) -> Iterator[bytes]:
        for number in range(self.size >> 20):
            if number == 1:
                sys.stdout.write("writing\n")
                sys.stdout.flush()
            yield bytes(1 << 20)


def test_a_failure_ends_the_other_layers_and_is_told(layout: Layout):
    recipes = [
        LayerRecipe("endless", (Endless(),)),
        LayerRecipe("twice", (Counted("a"), Counted("a"))),
    ]
    with pytest.raises(RecipeInvalid, match="only one of them may"):
        write_layers(recipes, layout, Compression.here("gzip", 1))
    assert not list(layout.folder.rglob("*.partial"))


def test_ctrl_c_ends_a_layer_that_is_being_written(layout: Layout):
    script = (
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\n"
        "from test_image_layers_cache import *\n"
        f"layout = Layout(Path({str(layout.folder)!r}))\n"
        "recipes = [LayerRecipe('endless', (Endless(),)), LayerRecipe('a', (Counted('a'),))]\n"
        "write_layers(recipes, layout, Compression.here('gzip', 1))\n"
    )
    paths = os.pathsep.join(sys.path)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": paths},
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert not list(layout.folder.rglob("*.partial"))


def test_an_interrupted_build_keeps_its_finished_layers(layout: Layout, tmp_path: Path):
    cache = LayerCache(tmp_path / "cache")
    contents = [Counted("a"), Counted("b"), Counted("c", fails=True)]
    recipes = [LayerRecipe(one.name, (one,)) for one in contents]
    compression = Compression.here("gzip", 1)
    with pytest.raises(KeyboardInterrupt):
        write_layers(recipes, layout, compression, cache)
    assert not list(layout.folder.rglob("*.partial"))
    contents[2].fails = False
    fresh = Layout(tmp_path / "fresh", create=True)
    assert len(write_layers(recipes, fresh, compression, cache)) == 3
    assert [one.read for one in contents] == [1, 1, 2]


def test_a_cache_that_cannot_be_written_to_is_no_error(layout: Layout, tmp_path: Path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert write(layout, Counted("a"), cache=LayerCache(tmp_path / "cache")).size


def test_the_oldest_layers_go_when_the_cache_is_full(layout: Layout, tmp_path: Path):
    cache = LayerCache(tmp_path / "cache", limit=25_000)
    noise = {
        name: BytesContents(name, {name: random.Random(name).randbytes(10_000)}) for name in "abc"
    }
    for number, name in enumerate("abc"):
        layer = write(layout, noise[name], cache=cache)
        stored = tmp_path / "cache" / f"{digest_of(layer.descriptor).hex}.layer"
        os.utime(stored, (number, number))
    write(layout, EntryContents("d", [RegularFile("d", b"d")]), cache=cache)
    left = {path.name for path in (tmp_path / "cache").glob("*.layer")}
    kept = {f"{digest_of(write(layout, noise[name]).descriptor).hex}.layer" for name in "bc"}
    assert kept < left
    assert len(left) == 3


def test_no_note_stays_about_a_layer_that_was_evicted(layout: Layout, tmp_path: Path):
    cache = LayerCache(tmp_path / "cache", limit=15_000)
    for name in "abc":
        noise = random.Random(name).randbytes(10_000)
        write(layout, BytesContents(name, {name: noise}), cache=cache)
    assert len(list((tmp_path / "cache").glob("*.layer"))) == 1
    assert len(list((tmp_path / "cache").glob("*.json"))) == 1


def test_what_a_killed_build_was_storing_is_swept(layout: Layout, tmp_path: Path):
    cache = LayerCache(tmp_path / "cache")
    write(layout, Counted("a"), cache=cache)
    rest = tmp_path / "cache" / ".0123456789abcdef.partial"
    rest.write_bytes(bytes(100))
    write(layout, Counted("b"), cache=cache)
    assert not rest.exists()


def test_a_layer_is_copied_where_it_cannot_be_linked(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    cache, contents = LayerCache(tmp_path / "cache"), Counted("a")
    first = write(layout, contents, cache=cache)
    assert write(Layout(tmp_path / "other", create=True), contents, cache=cache) == first
    assert contents.read == 1


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", ["zstd", "gzip"])
def test_four_gigabytes_in_little_memory(tmp_path: Path, how: str):
    with (tmp_path / "engine.bin").open("wb") as file:
        for number in range(1024):
            file.seek(4 * number << 20)
            file.write(random.Random(number).randbytes(200_000))
        file.truncate(4 << 30)
    script = PEAK_KILOBYTES + textwrap.dedent("""
        import sys
        from pathlib import Path
        from enginecrate.image.layers.entries import LayerRecipe
        from enginecrate.image.layers.files import FolderContents
        from enginecrate.image.layers.compression import Compression
        from enginecrate.image.layers.writer import write_layer
        from enginecrate.image.transports.layout import Layout
        layer = write_layer(
            LayerRecipe("big", (FolderContents(Path(sys.argv[1]), "opt/engine.bin"),)),
            Layout(Path(sys.argv[2]), create=True),
            Compression.here(sys.argv[3], 9 if sys.argv[3] == "zstd" else 1),
        )
        assert layer.size > 4 << 30
        print(peak_kilobytes())
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "engine.bin", tmp_path / "layout", how],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 500_000  # kilobytes
