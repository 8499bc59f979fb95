"""Conclusions and output of `spaceverse doctor`, for imaginary capabilities and for this machine."""

import argparse
import json
import re

import pytest

from testbed.cli import doctor
from testbed.errors import InputError
from testbed.machine import capabilities
from testbed.machine.capabilities import NEEDED, SHAPERS, Capability
from testbed.network.shapers.capabilities import shaper_capabilities
from testbed.network.shapers.choice import choose_shaper

ALL = [*NEEDED, *SHAPERS, "uml", "real-time"]


def found(*missing: str) -> list[Capability]:
    return [
        Capability(n, n not in missing, "seen", "reason", f"apt-get {n}" if n in missing else "") for n in ALL
    ]


def run_doctor(monkeypatch: pytest.MonkeyPatch, findings: list[Capability], *options: str) -> int:
    monkeypatch.setattr(capabilities, "probe", lambda _: findings)
    parser = argparse.ArgumentParser()
    doctor.add_parser(parser.add_subparsers())
    args = parser.parse_args(["doctor", *options])
    return int(args.run(args))


@pytest.mark.parametrize("missing", [(), ("netem",), ("nfqueue",), ("uml", "real-time")])
def test_a_run_does_with_one_shaper_and_without_comforts(missing: tuple[str, ...]) -> None:
    assert capabilities.enough_for_a_run(found(*missing))


@pytest.mark.parametrize("missing", [SHAPERS, *[(name,) for name in NEEDED]])
def test_a_run_does_not_do_without(missing: tuple[str, ...]) -> None:
    assert not capabilities.enough_for_a_run(found(*missing))


def test_the_table_names_each_capability_and_one_command_for_each_fix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_doctor(monkeypatch, found("netem", "uml")) == 0
    printed = capsys.readouterr().out
    for name in ALL:
        answer = "no" if name in ("netem", "uml") else "yes"
        assert re.search(rf"^{name} +{answer} +seen +reason", printed, re.MULTILINE), name
    assert "netem: fix with\n    apt-get netem\n" in printed
    assert printed.endswith("Scenarios can run on this machine. Missing but optional: netem, uml.\n")


def test_the_verdict_says_what_a_run_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_doctor(monkeypatch, found("netem", "nfqueue", "mnexec", "uml")) == 1
    assert capsys.readouterr().out.endswith("yet. Missing: mnexec, a shaper (netem or nfqueue).\n")


def test_json_holds_what_the_table_shows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_doctor(monkeypatch, found("root"), "--json") == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["ready"] is False
    assert [one["name"] for one in printed["capabilities"]] == ALL
    assert printed["capabilities"][0] == {
        "name": "root",
        "ok": False,
        "detail": "seen",
        "why": "reason",
        "fix": "apt-get root",
    }


def test_this_machine_is_probed_without_an_exception_and_each_lack_has_a_fix() -> None:
    probed = capabilities.probe(shaper_capabilities())
    assert {one.name for one in probed} >= {*NEEDED, *SHAPERS, "clock", "real-time", "uml", "iperf3"}
    for one in probed:
        assert one.detail
        assert one.why
        assert bool(one.fix) != one.ok, one


def test_an_unknown_shaper_is_the_users_mistake() -> None:
    with pytest.raises(InputError, match="no shaper 'htb'; choose one of auto, netem, nfqueue"):
        choose_shaper("htb")
