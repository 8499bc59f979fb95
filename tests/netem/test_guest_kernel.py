"""A kernel that loses netem or gains br_netfilter; only in a guest, whose modules may be unloaded."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.errors import CapabilityError
from testbed.network.shapers.capabilities import shaper_capabilities
from testbed.network.shapers.choice import choose_shaper, has_netem
from testbed.network.shapers.netem.shaper import NetemShaper, netem_lack
from testbed.network.shapers.nfqueue import hook
from testbed.network.sky import Sky

IN_GUEST = "User Mode Linux" in Path("/proc/cpuinfo").read_text()
pytestmark = pytest.mark.skipif(not IN_GUEST, reason="would unload a module of this machine; run in a guest")
MODPROBE = Path("/proc/sys/kernel/modprobe")


@pytest.fixture
def no_netem() -> Iterator[None]:
    loader = MODPROBE.read_text()
    for _ in range(50):  # namespaces of earlier tests end a little after them, and hold the module until then
        if subprocess.run(["rmmod", "sch_netem"], check=False, capture_output=True).returncode == 0:
            break
        time.sleep(0.1)
    MODPROBE.write_text("/bin/false")
    yield
    MODPROBE.write_text(loader)


@pytest.mark.usefixtures("no_netem")
def test_a_kernel_without_netem_is_an_error_that_names_the_fix() -> None:
    lack = netem_lack()
    assert lack is not None
    assert os.uname().release in lack
    with pytest.raises(CapabilityError, match="has no sch_netem; fix it with: apt-get install linux"):
        Sky("netem")
    (found,) = [one for one in shaper_capabilities() if one.name == "netem"]
    assert not found.ok
    assert found.fix.startswith("apt-get install linux")


def test_netem_that_is_there_again_is_found_and_chosen() -> None:
    has_netem.cache_clear()
    assert netem_lack() is None
    assert choose_shaper("netem") is NetemShaper
    assert choose_shaper() is NetemShaper


def test_probing_iptables_does_not_send_the_machines_bridges_through_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if hook.BRIDGE_SYSCTLS.exists():
        subprocess.run(["modprobe", "-r", "xt_physdev", "br_netfilter"], check=True)
    monkeypatch.setattr(hook, "find_program", lambda name: None if name == "nft" else shutil.which(name))
    hook.nfqueue_way.cache_clear()
    assert hook.nfqueue_way() == "iptables-legacy"
    switches = {one.name: one.read_text().strip() for one in hook.BRIDGE_SYSCTLS.glob("bridge-nf-call-*")}
    assert switches["bridge-nf-call-iptables"] == "0"
    assert set(switches.values()) == {"0"}


def test_nft_comes_first() -> None:
    hook.nfqueue_way.cache_clear()
    assert hook.nfqueue_way() == "nft"
