"""Several fetches at once: how they are cut, run and watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from enginecrate.stacks.lock import LockedWheel

__all__ = ["WORKERS", "batches", "run_jobs"]

WORKERS = 3
_GLANCE = 0.3
"""Seconds between two looks at how far the fetches are."""

_BATCH = 16
"""Wheels for one run of pip: what was fetched is kept batch by batch when the user breaks off."""

_LARGE = 32_000_000
"""Bytes from which on a wheel has a run of its own."""


def run_jobs(jobs: Sequence[Callable[[], object]], tell: Callable[[], None]) -> None:
    """Run all, some at once; the first error ends them, and is raised.

    Args:
        jobs: what to run.
        tell: called again and again meanwhile, in this thread.
    """
    with ThreadPoolExecutor(WORKERS) as pool:
        waiting = {pool.submit(job) for job in jobs}
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=_GLANCE, return_when=FIRST_COMPLETED)
                for job in done:
                    job.result()
                tell()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def batches(wheels: Sequence[LockedWheel]) -> list[list[LockedWheel]]:
    """Wheels by runs of pip: large ones alone and first, so that nothing waits for a late one."""
    large = sorted((one for one in wheels if one.size >= _LARGE), key=lambda one: -one.size)
    small = [one for one in wheels if one.size < _LARGE]
    count = -(-len(small) // _BATCH)
    return [[one] for one in large] + [small[start::count] for start in range(count)]
