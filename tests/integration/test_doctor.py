"""`spaceverse doctor` on this machine is right with and without root, and leaves no traces."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import CapabilityError
from testbed.machine import capabilities, uml
from testbed.network.shapers.capabilities import shaper_capabilities
from testbed.network.shapers.choice import choose_shaper
from testbed.network.shapers.nfqueue.hook import nfqueue_way
from tests.support import ROOT

# All is imported before root is given up, since the checkout may be in a folder that only root can enter.
DOCTOR = """
import email.parser, json, os, subprocess, sys
import rich.console, rich.table, rich.text
from testbed.cli import main as cli
from testbed.machine import capabilities
cli.parser()
if sys.argv[1] == "nobody":
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(cli.main(sys.argv[2:]))
"""


def doctor(user: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", DOCTOR, user, "doctor", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def by_name(said: str) -> dict[str, Any]:
    return {one["name"]: one for one in json.loads(said)["capabilities"]}


@pytest.mark.root
def test_a_machine_that_runs_these_tests_can_run_a_scenario() -> None:
    done = doctor("root", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = by_name(done.stdout)
    assert all(found[name]["ok"] for name in capabilities.NEEDED)
    assert found["mosquitto"]["detail"].startswith("2.")
    assert found["uml"]["ok"] == (uml.missing() is None)


@pytest.mark.root
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_without_root_it_says_so_and_does_not_crash(options: tuple[str, ...]) -> None:
    done = doctor("nobody", *options)
    assert done.returncode == 1
    assert done.stderr == ""
    if options:
        found = by_name(done.stdout)
        assert not found["root"]["ok"]
        for name in ("root", "namespaces", "netem", "nfqueue"):
            assert found[name]["fix"] == "sudo spaceverse doctor"
        assert found["mnexec"]["ok"]
    else:
        assert "root" in done.stdout.splitlines()[-1]


@pytest.mark.root
def test_probing_leaves_interfaces_rules_and_namespaces_as_they_were() -> None:
    def look() -> tuple[list[str], str, set[str]]:
        interfaces = sorted(one.name for one in Path("/sys/class/net").iterdir())
        rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=False).stdout
        kept = [line for line in rules.splitlines() if not line.startswith(("#", ":"))]
        mine = {str(one.readlink()) for one in Path("/proc/self/task").glob("*/ns/net")}
        return interfaces, "\n".join(kept), mine

    before = look()
    nfqueue_way.cache_clear()
    capabilities.probe(shaper_capabilities())
    assert look() == before


@pytest.mark.root
def test_the_shaper_that_is_chosen_is_one_that_works() -> None:
    there = {one.name for one in capabilities.probe(shaper_capabilities()) if one.ok}
    for name in capabilities.SHAPERS:
        if name in there:
            assert name in str(choose_shaper(name)).lower()
        else:
            with pytest.raises(CapabilityError, match="fix it with: "):
                choose_shaper(name)
