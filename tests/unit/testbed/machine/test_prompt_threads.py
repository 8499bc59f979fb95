"""Threads of a run come before programs of normal priority, and only while it lasts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from testbed.machine.prompt_threads import SWITCH_S, PromptThreads


@pytest.fixture
def thread() -> Iterator[int]:
    """Return the number of a thread that waits."""
    end = threading.Event()
    waiting = threading.Thread(target=end.wait)
    waiting.start()
    yield waiting.native_id or 0
    end.set()
    waiting.join()


def _may_be_real_time() -> bool:
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except PermissionError:
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


def test_all_threads_are_prompt_until_the_block_ends(thread: int) -> None:
    expected = os.SCHED_RR | os.SCHED_RESET_ON_FORK if _may_be_real_time() else os.SCHED_OTHER
    before_s = sys.getswitchinterval()
    with PromptThreads():
        assert os.sched_getscheduler(thread) == os.sched_getscheduler(0) == expected
        assert sys.getswitchinterval() == pytest.approx(SWITCH_S)
    assert os.sched_getscheduler(thread) == os.sched_getscheduler(0) == os.SCHED_OTHER
    assert sys.getswitchinterval() == before_s


def test_programs_and_threads_of_the_block_are_not() -> None:
    policies: list[int] = []
    with PromptThreads(), subprocess.Popen(["sleep", "60"]) as program:
        policies.append(os.sched_getscheduler(program.pid))
        program.kill()
        later = threading.Thread(target=lambda: policies.append(os.sched_getscheduler(0)))
        later.start()
        later.join()
    assert policies == [os.SCHED_OTHER, os.SCHED_OTHER]


def test_a_thread_with_a_priority_of_its_own_keeps_it(monkeypatch: pytest.MonkeyPatch, thread: int) -> None:
    policies = {thread: os.SCHED_FIFO}

    def note(number: int, policy: int, parameters: os.sched_param) -> None:
        policies[number] = policy

    monkeypatch.setattr(os, "sched_getscheduler", lambda number: policies.get(number, os.SCHED_OTHER))
    monkeypatch.setattr(os, "sched_setscheduler", note)
    with PromptThreads():
        pass
    assert policies[thread] == os.SCHED_FIFO
    assert policies[threading.get_native_id()] == os.SCHED_OTHER
