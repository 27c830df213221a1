"""Arenas whose pages are locked for a GPU, with a driver that has none."""

import mmap

import numpy as np
import pytest

from enginecrate.server.processes.registered_arenas import RegisteredArenas
from fake_driver import FakeDriver


@pytest.fixture
def arenas() -> RegisteredArenas:
    return RegisteredArenas()


def test_arenas_are_locked_once_a_device_is_known(arenas: RegisteredArenas, fake: FakeDriver):
    first = mmap.mmap(-1, 1 << 16)
    arenas.add(first)
    assert arenas.registered == 0
    arenas.use(fake.device())
    assert arenas.registered == 1
    second = mmap.mmap(-1, 1 << 16)
    arenas.add(second)
    assert arenas.registered == 2
    for memory in (first, second):
        arenas.drop(memory)
    del first, second, memory
    arenas.sweep()
    assert arenas.registered == 0


def test_an_arena_in_use_stays_locked(arenas: RegisteredArenas, fake: FakeDriver):
    arenas.use(fake.device())
    memory = mmap.mmap(-1, 1 << 16)
    arenas.add(memory)
    array = np.frombuffer(memory, np.uint8)
    arenas.drop(memory)
    del memory
    arenas.sweep()
    assert arenas.registered == 1
    del array
    arenas.sweep()
    assert arenas.registered == 0


def test_a_driver_that_refuses_costs_speed_only(
    arenas: RegisteredArenas, fake: FakeDriver, caplog: pytest.LogCaptureFixture
):
    arenas.use(fake.device())
    fake.fail("cuMemHostRegister_v2", 1)
    memory = mmap.mmap(-1, 1 << 16)
    arenas.add(memory)
    assert arenas.registered == 0
    assert "copies are slower" in caplog.text
    arenas.drop(memory)
    arenas.sweep()
