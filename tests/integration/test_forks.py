"""Programs that are forked from a process that has imported them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import pytest

from testbed.errors import TestbedError
from testbed.forks.forks import ForkedProcess, Forks
from testbed.network.emulation import EmulatedNetwork
from testbed.network.programs import Program, end_session, exit_code
from tests.support.waiting import wait_for

PROGRAM = """
import os, signal, sys, time

def main():
    what = sys.argv[1]
    if what == "say":
        print(sys.argv[0], sys.argv[2:], os.environ.get("FRUIT"), os.getcwd(), os.getpgid(0) == os.getpid())
    elif what == "interfaces":
        print(sorted(os.listdir("/sys/class/net")), flush=True)
    elif what == "sleep":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        print("asleep", flush=True)
        time.sleep(60)
    elif what == "told":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        print("told", flush=True)
        time.sleep(60)
    elif what == "crash":
        raise RuntimeError("as expected")
    elif what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "usage":
        sys.exit(2)
    return 0
"""


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    folder = tmp_path_factory.mktemp("programs")
    (folder / "program_of_test_forks.py").write_text(PROGRAM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{folder}:{os.environ.get('PYTHONPATH', '')}")
        with Forks(["program_of_test_forks"]) as forks:
            yield forks


@pytest.fixture
def output() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        yield file


def start(forks: Forks, output: BinaryIO, *arguments: str, **options: object) -> ForkedProcess:
    return forks.start("program_of_test_forks", arguments, output.fileno(), **options)  # type: ignore[arg-type]


def said(output: BinaryIO) -> str:
    return os.pread(output.fileno(), 1 << 16, 0).decode()


def test_a_fork_has_its_own_arguments_environment_folder_and_session(forks: Forks, output: BinaryIO) -> None:
    process = start(forks, output, "say", "a b", "ü", environment={"FRUIT": "fig"})
    assert process.wait(10) == 0 == process.poll()
    assert said(output).strip() == f"program_of_test_forks ['a b', 'ü'] fig {Path.cwd()} True"


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [("crash", 1, "RuntimeError: as expected"), ("kill", -9, ""), ("usage", 2, ""), ("none", 0, "")],
)
def test_the_exit_code_and_the_traceback_are_told(
    forks: Forks, output: BinaryIO, what: str, code: int, words: str
) -> None:
    process = start(forks, output, what)
    wait_for(lambda: exit_code(process) is not None, "its end", 10)
    assert Path(f"/proc/{process.pid}").exists(), "nobody else gets its process id yet"
    assert process.wait(10) == code and words in said(output)
    wait_for(lambda: not Path(f"/proc/{process.pid}").exists(), "its id to be free", 10)


def test_it_is_asked_to_end_and_shown_by_its_own_name(forks: Forks, output: BinaryIO) -> None:
    process = start(forks, output, "sleep")
    wait_for(lambda: "asleep" in said(output), "the program", 10)
    shown = Path(f"/proc/{process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    assert shown.split()[1:] == ["-m", "program_of_test_forks", "sleep"]
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.02)
    end_session(process)
    assert process.returncode == 7


def test_it_leads_its_session_from_the_start(forks: Forks, output: BinaryIO) -> None:
    for _ in range(30):
        process = start(forks, output, "sleep")
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(10) == -9


def test_a_program_that_is_told_to_end_again_and_again_ends_without_a_traceback(forks: Forks) -> None:
    for _ in range(30):
        with tempfile.TemporaryFile() as output:
            process = start(forks, output, "told")
            wait_for(lambda: "told" in said(output), "the program", 10)
            while exit_code(process) is None:
                os.killpg(process.pid, signal.SIGTERM)
            assert process.wait(10) in (0, 1) and said(output) == "told\n"


def test_many_threads_start_programs_at_once(forks: Forks) -> None:
    codes: list[int] = []

    def work() -> None:
        with tempfile.TemporaryFile() as output:
            for _ in range(5):
                process = start(forks, output, "say")
                codes.append(process.wait(20))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 30


def test_a_missing_module_is_told_in_the_log(forks: Forks, output: BinaryIO) -> None:
    process = forks.start("nowhere_at_all", [], output.fileno())
    assert process.wait(10) == 1 and "No module named 'nowhere_at_all'" in said(output)


def test_its_programs_end_with_it_and_are_counted_as_killed(output: BinaryIO) -> None:
    with Forks(["testbed.errors"]) as forks:
        process = forks.start("http.server", [], output.fileno())  # has no main
        assert process.wait(10) == 1
    with pytest.raises(TestbedError, match="is closed"):
        forks.start("testbed.errors", [], output.fileno())


def test_a_killed_server_takes_its_programs_along(forks: Forks, output: BinaryIO) -> None:
    with Forks(list(forks.modules)) as others:
        process = start(others, output, "sleep")
        wait_for(lambda: "asleep" in said(output), "the program", 10)
        os.kill(others.pid, signal.SIGKILL)
        wait_for(lambda: process.poll() == -9, "its end to be known", 10)
        wait_for(lambda: not runs(process.pid), "its end", 10)
        assert start(others, output, "say").wait(20) == 0, "another server has been started"


def runs(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.root
def test_a_fork_in_a_host_sees_the_host(forks: Forks, tmp_path: Path) -> None:
    with EmulatedNetwork() as network:
        network.forks = forks
        network.add_host("s")
        program = network.start_program(
            "p", "s", [sys.executable, "-m", "program_of_test_forks", "interfaces"], tmp_path / "log"
        )
        assert isinstance(program, Program) and program.process.wait(10) == 0
    assert (tmp_path / "log").read_text().strip() == "['lo']"
