"""Arenas and leases: real memfds, another process, many threads."""

import fcntl
import mmap
import os
import random
import subprocess
import sys
import threading

import numpy as np
import pytest

from enginecrate.errors import QueueFull
from enginecrate.server.memory.arena import SealError, map_shared
from enginecrate.server.memory.leases import LeasePool, slot_bytes

MIB = 1 << 20


@pytest.fixture(params=[False, True], ids=["own", "shared"])
def pool(request):
    pool = LeasePool(64 * MIB, shared=request.param)
    yield pool
    pool.close()


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1, 65536), (65536, 65536), (65537, 98304), (98305, 131072), (602112, 786432),
     (MIB, MIB), (MIB + 1, 1572864), (64 * MIB, 64 * MIB)],
)  # fmt: skip
def test_size_classes(size: int, expected: int):
    assert slot_bytes(size) == expected


def test_every_size_class_is_a_multiple_of_the_page_and_wastes_at_most_half():
    sizes = [random.Random(1).randrange(65537, 1 << 28) for _ in range(1000)]
    for size in sizes:
        taken = slot_bytes(size)
        assert taken % mmap.PAGESIZE == 0
        assert size <= taken <= size * 1.5 + 1


def test_a_lease_has_the_bytes_that_were_asked_for(pool: LeasePool):
    lease = pool.lease(1000)
    assert lease.view.nbytes == 1000
    assert not lease.view.readonly
    lease.view[:] = b"x" * 1000
    assert pool.counts() == {"filling": 1, "submitted": 0, "answered": 0}
    lease.mark("submitted")
    assert pool.counts()["submitted"] == 1
    lease.release()
    assert not any(pool.counts().values())
    assert pool.leased_bytes == 0


def test_a_lease_may_begin_behind_a_lead(pool: LeasePool):
    lease = pool.lease(70_000, 23)
    assert lease.view.nbytes == 70_000
    assert lease.offset % 64 == 23
    array = np.frombuffer(lease.view, np.uint8)
    found = pool.locate(array)
    assert found is not None
    assert found == (lease.arena, lease.offset)


def test_leases_do_not_overlap(pool: LeasePool):
    leases = [pool.lease(600_000) for _ in range(30)]
    for number, lease in enumerate(leases):
        np.frombuffer(lease.view, np.uint8)[:] = number
    for number, lease in enumerate(leases):
        assert set(bytes(lease.view)) == {number}


def test_the_slot_is_free_after_the_last_release_only(pool: LeasePool):
    lease = pool.lease(60 * MIB)
    lease.retain()
    lease.release()
    with pytest.raises(QueueFull, match="try again"):
        pool.lease(60 * MIB)
    lease.release()
    pool.lease(60 * MIB).release()


def test_releasing_once_too_often_is_an_error(pool: LeasePool):
    lease = pool.lease(10)
    lease.release()
    with pytest.raises(RuntimeError, match="too often"):
        lease.release()
    with pytest.raises(RuntimeError, match="after its last release"):
        lease.retain()


def test_the_limit_counts_what_is_leased(pool: LeasePool):
    leases = [pool.lease(16 * MIB) for _ in range(4)]
    with pytest.raises(QueueFull, match=str(64 * MIB)):
        pool.lease(1)
    leases.pop().release()
    assert pool.lease(16 * MIB).view.nbytes == 16 * MIB


def test_memory_of_a_burst_is_given_back():
    closed = []
    pool = LeasePool(1 << 30, shared=True, on_idle=lambda arena: (closed.append(1), arena.close()))
    leases = [pool.lease(16 * MIB) for _ in range(16)]
    for lease in leases:
        lease.release()
    assert len(closed) == 12
    assert pool.reserved_bytes == 64 * MIB
    pool.trim()
    assert pool.reserved_bytes == 0


def test_an_array_in_an_arena_is_located(pool: LeasePool):
    leases = [pool.lease(size) for size in (100, 600_000, 5 * MIB, 100)]
    for lease in leases:
        array = np.frombuffer(lease.view, np.uint8)[4:]
        found = pool.locate(array)
        assert found is not None
        arena, offset = found
        assert (arena, offset) == (lease.arena, lease.offset + 4)
    assert pool.locate(np.zeros(10)) is None


def test_arenas_of_an_earlier_generation_are_closed_after_their_last_release():
    pool = LeasePool(64 * MIB, shared=True)
    lease = pool.lease(100)
    old, fd = lease.arena, lease.arena.fd
    pool.renew()
    new = pool.lease(100)
    assert new.arena is not old
    lease.release()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_another_process_sees_the_bytes_and_cannot_shrink_them():
    pool = LeasePool(64 * MIB, shared=True)
    lease = pool.lease(1000)
    lease.view[:5] = b"hello"
    fd = lease.arena.fd
    code = f"""
import mmap, os
m = mmap.mmap({fd}, {lease.arena.size})
print(m[{lease.offset}:{lease.offset} + 5])
m[{lease.offset}] = ord("j")
try:
    os.ftruncate({fd}, 10)
except PermissionError:
    print("refused")
"""
    found = subprocess.run(
        [sys.executable, "-c", code], pass_fds=[fd], capture_output=True, text=True, check=True
    )
    assert found.stdout == "b'hello'\nrefused\n"
    assert bytes(lease.view[:5]) == b"jello"


def test_a_descriptor_that_could_shrink_is_not_mapped():
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 4096)
    with pytest.raises(SealError, match="not sealed"):
        map_shared(fd, 4096)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    with pytest.raises(SealError, match="4096 bytes, and 8192"):
        map_shared(fd, 8192)
    assert len(map_shared(fd, 4096)) == 4096
    with (
        open(__file__, "rb") as file,  # noqa: PTH123 - its descriptor
        pytest.raises(SealError, match="no memfd"),
    ):
        map_shared(file.fileno(), 4096)
    os.close(fd)


def test_threads_lease_and_release_without_mixing_up(pool: LeasePool):
    wrong = []

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(300):
            try:
                lease = pool.lease(chance.choice([10, 70_000, 600_000, 3 * MIB]))
            except QueueFull:
                continue
            array = np.frombuffer(lease.view, np.uint8)[:64]
            mine = chance.randrange(256)
            array[:] = mine
            lease.retain()
            lease.release()
            if set(array.tolist()) != {mine}:
                wrong.append(number)
            lease.release()

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert pool.leased_bytes == 0
    assert not any(pool.counts().values())
