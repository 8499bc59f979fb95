"""A wall clock that a test sets for the programs that it starts; that of the machine is everybody's."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset_s(void) {
    static volatile long *offset;
    if (!offset) {
        int file = open(getenv("WALL_CLOCK_OFFSET"), O_RDONLY | O_CLOEXEC);
        void *place = file < 0 ? MAP_FAILED : mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
        if (file >= 0) close(file);
        if (place == MAP_FAILED) return 0;
        offset = place;
    }
    return *offset;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int code = syscall(SYS_clock_gettime, clock, now);
    if (!code && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += offset_s();
    return code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int code = syscall(SYS_gettimeofday, now, zone);
    if (!code) now->tv_sec += offset_s();
    return code;
}

time_t time(time_t *place) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place) *place = now.tv_sec;
    return now.tv_sec;
}
"""


class WallClock:
    """The clock of programs that are started while it is in place; files keep the kernel's times."""

    def __init__(self, offset: Path) -> None:
        self._offset = offset
        self.set(0)

    def set(self, offset_s: int) -> None:
        """Let the clock be this much ahead of the machine's from now on."""
        with self._offset.open("r+b" if self._offset.exists() else "wb") as file:
            file.write(struct.pack("@l", offset_s))


@contextmanager
def own_wall_clock(folder: Path) -> Iterator[WallClock]:
    """Give the programs that are started meanwhile a wall clock of their own."""
    source, library, offset = (folder / name for name in ("clock.c", "clock.so", "clock-offset"))
    source.write_text(SOURCE)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    clock = WallClock(offset)
    changes = {"LD_PRELOAD": str(library), "WALL_CLOCK_OFFSET": str(offset)}
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield clock
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
