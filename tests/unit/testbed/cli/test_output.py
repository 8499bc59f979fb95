"""Outputs that cannot be written, and streams that are closed, full or ASCII: one line and no traceback."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.cli.main import main
from tests.support import ROOT
from traces.trace_file import parse_trace

SATELLITE = ["--satellite", "FLOCK 2P-1", "--station", "Svalbard"]
MAKE = ["trace", "make", *SATELLITE, "--duration", "1h"]
PASSES = ["trace", "passes", *SATELLITE]
NOBODY = 65534


def command(*arguments: str, script: str = '"$@"', **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", script, "bash", sys.executable, "-m", "testbed.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=120,
        check=False,
    )


def as_another_user(run: Callable[[], int]) -> int:
    """Run in a child process that may not do everything, unlike root; return its exit code."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            code = run()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(
    "arguments",
    [
        [*MAKE, "-o", "PRIVATE/x.csv"],
        ["trace", "convert", "LINK", "-o", "PRIVATE/x.csv"],
        ["trace", "convert", "PRIVATE/x.csv", "-o", "-"],
        ["trace", "cut", "LINK", "--end", "1", "-o", "PRIVATE/x.csv"],
        ["trace", "plot", "LINK", "-o", "PRIVATE/x.png"],
        ["trace", "plot", "PRIVATE/x.csv"],
        ["trace", "info", "PRIVATE/x.csv"],
        ["trace", "make", "--tle", "PRIVATE/x.tle", *SATELLITE, "-o", "-"],
        ["trace", "record", "--connect", "127.0.0.1", "-o", "PRIVATE/x.csv"],
        ["run", "PRIVATE/scenario.py"],
        ["run", "PRIVATE/scenario.json"],
        ["run", "PRIVATE/job.toml"],
        ["replay", "PRIVATE/x.csv"],
        ["captures", "PRIVATE/a.pcap", "PRIVATE/b.pcap"],
        ["eval", "PRIVATE/job.toml"],
        ["eval", "-o", "PRIVATE/runs"],
        ["board", "list", "--boards", "PRIVATE/boards.toml"],
        ["board", "bundle", "-o", "PRIVATE/bundle"],
        ["board", "profile", "--local", "-o", "PRIVATE/profile.json"],
        ["doctor", "--log-file", "PRIVATE/log"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_folder_that_may_not_be_entered_is_one_line(
    arguments: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / "link.csv"
    assert main([*MAKE, "-o", str(link)]) == 0  # and imports what another user might not read
    main(["trace", "plot", str(link), "-o", str(tmp_path / "link.png")])
    if arguments[0] in ("captures", "replay"):
        main([word.replace("PRIVATE", str(tmp_path)) for word in arguments])
    private = tmp_path / "private"
    private.mkdir(mode=0o000)
    line = [word.replace("PRIVATE", str(private)).replace("LINK", str(link)) for word in arguments]
    capfd.readouterr()
    try:
        code = as_another_user(lambda: main(line))
    finally:
        private.chmod(0o700)
    error = capfd.readouterr().err
    assert code == 2, error
    assert error.startswith("spaceverse: error: ")
    assert "ermission denied" in error or "not writable" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        PASSES,
        [*PASSES, "--csv"],
        [*PASSES, "--json"],
        [*MAKE, "-o", "-"],
        ["doctor"],
        ["--help"],
        ["trace", "make", "--help"],
        ["--version"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_output_is_one_line(arguments: list[str], unbuffered: str) -> None:
    done = command(*arguments, script='"$@" > /dev/full', PYTHONUNBUFFERED=unbuffered)
    assert done.returncode in (1, 2), done.stderr
    assert b"No space left on device" in done.stderr
    assert [line[:19] for line in done.stderr.splitlines()] == [b"spaceverse: error: "]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_enough_is_no_error(unbuffered: str) -> None:
    script = '"$@" | true; echo "${PIPESTATUS[0]}"'
    done = command(*PASSES, "--csv", script=script, PYTHONUNBUFFERED=unbuffered)
    assert (done.stdout, done.stderr) == (b"141\n", b"")


@pytest.mark.parametrize("closed", [">&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_no_harm(closed: str, tmp_path: Path) -> None:
    output = tmp_path / "link.csv"
    done = command(*MAKE, "-o", str(output), script=f'"$@" {closed}')
    assert done.returncode == 0, done.stderr
    parse_trace(output.read_bytes(), "link")
    assert command("doctor", "--json", script=f'"$@" {closed}').stderr == b""


def test_an_ascii_terminal_gets_the_table_in_ascii() -> None:
    done = command(*PASSES, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "25.5 deg" in done.stdout.decode("ascii")
    station = ["--station", "Tromsø=69.6,18.9,10"]
    assert (
        b"Traceback"
        not in command("trace", "passes", *SATELLITE[:2], *station, PYTHONIOENCODING="ascii").stderr
    )


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_a_trace_goes_to_standard_output_and_the_report_to_stderr(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*MAKE, "-o", name]) == 0
    out, err = capfd.readouterr()
    assert parse_trace(out.encode(), "stdout").header.satellite == "FLOCK 2P-1"
    assert err.startswith("wrote to standard output: ")
    assert main([*MAKE, "-o", name, "--json"]) == 2
    assert "--json" in capfd.readouterr().err


def test_a_plot_goes_to_standard_output(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    main([*MAKE, "-o", str(tmp_path / "link.csv")])
    capfdbinary.readouterr()
    assert main(["trace", "plot", str(tmp_path / "link.csv"), "-o", "-"]) == 0
    assert capfdbinary.readouterr().out.startswith(b"\x89PNG")


def test_force_never_replaces_a_device(tmp_path: Path) -> None:
    null = tmp_path / "null"
    if os.geteuid() == 0:
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    else:
        null.symlink_to("/dev/null")
    assert main([*MAKE, "-o", str(null), "--force"]) == 0
    assert main([*MAKE, "-o", str(null)]) == 0  # nothing is replaced, so nothing needs --force
    assert stat.S_ISCHR(null.stat().st_mode)
