"""A clock that is years ahead, for one program: its calendar is another, its waits are not."""

import datetime
import subprocess
import time
from pathlib import Path

# Timers and waits stay the kernel's: libraries that fake those too make some of them fail or hang.
_SOURCE = """
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, id, now);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += AHEAD;
    return failed;
}

time_t time(time_t *now) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (now) *now = found.tv_sec;
    return found.tv_sec;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}
"""


def other_clock(folder: Path) -> dict[str, str]:
    """Environment variables that make a program see May 2031.

    folder: for the library; it must not exist, and every user may read it afterwards.
    """
    folder.mkdir()
    then = datetime.datetime(2031, 5, 6, 7, 8, 9, tzinfo=datetime.UTC).timestamp()
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(_SOURCE)
    ahead = f"-DAHEAD={int(then - time.time())}L"
    command = ["gcc", "-shared", "-fPIC", "-O1", ahead, "-o", library, source]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return {"LD_PRELOAD": str(library)}
