"""Runs tests/netem and `verify` with netem in User-Mode Linux, and tests/netem where the kernel has netem."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from testbed.errors import CapabilityError, InputError
from testbed.machine import uml
from testbed.network.shapers.netem.shaper import netem_lack
from tests.support import ROOT
from tests.support.verified import judge

VERIFY = [sys.executable, "-m", "testbed.cli.main", "verify", "--quick", "--json", "--shaper", "netem"]
NETEM = ROOT / "tests/netem"
BESIDE_VERIFY = [
    NETEM / name for name in ("test_replay_netem.py", "test_vlan_board.py")
]  # so both take as long
BOOT_S = 1.0  # by then the first guest shows that its processor is taken
needs_uml = pytest.mark.skipif(uml.missing() is not None, reason=f"{uml.missing()}: {uml.FIX}")


def pytest_command(
    report: Path, tests: Sequence[Path] = (NETEM,), left_out: Sequence[Path] = ()
) -> list[str]:
    options = ["-p", "no:cacheprovider", "--color=no", "-rA", "--durations=5", f"--junitxml={report}"]
    ignored = [f"--ignore={path}" for path in left_out]
    return [sys.executable, "-m", "pytest", *options, *ignored, *map(str, tests)]


def judge_inner(report: Path, output: str) -> None:
    """Fail, showing every inner outcome, unless tests ran, and all passed or could not be decided."""
    if not report.exists():
        pytest.fail(f"the inner run made no report\n{output}", pytrace=False)
    cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314  # our own file
    outcomes = [
        (case, case.find("*[@type]")) for case in cases
    ]  # xfail: undecided, see tests/support/starved.py
    bad = [case for case, how in outcomes if how is not None and how.get("type") != "pytest.xfail"]
    bad += [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    if bad or not cases:
        names = ", ".join(str(case.get("name")) for case in bad)
        pytest.fail(f"{len(cases)} inner tests, {len(bad)} not passed: {names}\n{output}", pytrace=False)
    print(f"{len(cases)} inner tests passed")


@dataclass(frozen=True)
class Guest:
    """What a guest has done: exit status of its command, output, error output."""

    status: int
    out: bytes
    err: bytes


def in_guest(command: Sequence[str], environment: dict[str, str], writable: Sequence[Path] = ()) -> Guest:
    out, err = io.BytesIO(), io.BytesIO()
    status = uml.run_in_uml(
        command,
        timeout_s=1200,
        real_time=True,
        environment={"PYTHONDONTWRITEBYTECODE": "1", **environment},
        writable=writable,
        stdout=out,
        stderr=err,
    )
    return Guest(status, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Guests:
    """What the guests have done: all netem tests, in two parts with a report each, and `verify`."""

    tests: dict[Path, Guest]
    verify: Guest


@pytest.fixture(scope="module")
def guests_of_all(tmp_path_factory: pytest.TempPathFactory) -> Guests:
    """Two guests side by side: a guest has one processor, and chooses one that is idle."""
    folder = tmp_path_factory.mktemp("guests")
    most, others = folder / "most.xml", folder / "others.xml"
    required = {"SPACEVERSE_NETEM_REQUIRED": "1"}

    def verify_and_others() -> tuple[Guest, Guest]:
        verified = in_guest(VERIFY, {})
        return verified, in_guest(pytest_command(others, BESIDE_VERIFY), required, [folder])

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor() as pool:
        patch.chdir(ROOT)
        first = pool.submit(in_guest, pytest_command(most, left_out=BESIDE_VERIFY), required, [folder])
        time.sleep(BOOT_S)
        second = pool.submit(verify_and_others)
        verified, rest = second.result()
        return Guests({most: first.result(), others: rest}, verified)


@pytest.mark.alone
@pytest.mark.root
@needs_uml
def test_netem_shaper_with_the_kernel_of_user_mode_linux(guests_of_all: Guests) -> None:
    for report, guest in guests_of_all.tests.items():
        judge_inner(report, (guest.out + guest.err).decode(errors="replace"))
        assert guest.status == 0


@pytest.mark.alone
@pytest.mark.root
@needs_uml
def test_verify_with_netem_in_user_mode_linux(guests_of_all: Guests) -> None:
    guest = guests_of_all.verify
    assert guest.out, guest.err.decode(errors="replace")
    found = json.loads(guest.out)
    assert guest.status == (0 if found["ok"] else 1)
    judge(found)


if netem_lack() is None:

    @pytest.mark.root
    def test_netem_shaper_with_this_kernel(tmp_path: Path) -> None:
        report = tmp_path / "inner.xml"
        # A host's modules are not ours to unload, nor are its control groups ours to mount.
        of_guests = [NETEM / "test_guest_kernel.py", NETEM / "test_limits_in_guest.py"]
        command = pytest_command(report, left_out=of_guests)
        environment = {**os.environ, "SPACEVERSE_NETEM_REQUIRED": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        judge_inner(report, done.stdout + done.stderr)
        assert done.returncode == 0


@needs_uml
def test_a_guest_passes_on_output_and_exit_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a folder").mkdir()
    monkeypatch.chdir(tmp_path / "a folder")
    out, err = io.BytesIO(), io.BytesIO()
    script = 'printf "%s|" "$@" "$WORD" "$PWD"; echo err >&2; echo kept > kept; touch /etc/spoilt; exit 7'
    status = uml.run_in_uml(
        ["bash", "-c", script, "bash", "it's", "two words", "$HOME"],
        timeout_s=60,
        environment={"WORD": "a 'b'"},
        writable=[tmp_path],
        stdout=out,
        stderr=err,
    )
    assert out.getvalue().decode() == f"it's|two words|$HOME|a 'b'|{tmp_path}/a folder|"
    assert err.getvalue().decode().startswith("err\n")
    assert "Read-only file system" in err.getvalue().decode()
    assert (tmp_path / "a folder/kept").read_text() == "kept\n"
    assert not Path("/etc/spoilt").exists()
    assert status == 7


@needs_uml
def test_a_guest_that_is_late_is_ended_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(
        uml.UmlTimeoutError, match="'sleep 1000' in User-Mode Linux did not finish within 4 s"
    ):
        uml.run_in_uml(["sleep", "1000"], timeout_s=4)
    assert list(tmp_path.iterdir()) == []
    assert not [one for one in guests() if str(tmp_path) in one]


@needs_uml
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_guest_that_is_stopped_leaves_nothing(tmp_path: Path, number: int, status: int) -> None:
    command = [sys.executable, "-m", "testbed.machine.uml", "--", "sh", "-c", "echo up; exec sleep 1000"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(number)
        try:
            assert process.wait(10) == status
        finally:
            process.kill()  # or the block would wait for ever for one that did not stop
    assert list(tmp_path.iterdir()) == []
    assert not [one for one in guests() if str(tmp_path) in one]


def guests() -> list[str]:
    """Command lines of the guests that run on this machine."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [line for line in lines if line.startswith("linux.uml")]


def test_a_folder_that_a_guest_hides_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uml, "missing", lambda: None)
    with pytest.raises(InputError, match="/run cannot be used in a guest"):
        uml.run_in_uml(["true"], writable=[Path("/run")])


def test_without_user_mode_linux_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        CapabilityError, match=r"no program linux\.uml; fix it with: apt-get install user-mode"
    ):
        uml.run_in_uml(["true"])
