"""The queue of nft, which the shaper uses on an ordinary Debian, with a kernel that has it."""

import io
import json
import statistics
import sys

import pytest

from testbed.machine import uml
from tests.support import ROOT


@pytest.mark.alone
@pytest.mark.root
@pytest.mark.skipif(uml.missing() is not None, reason=f"{uml.missing()}: {uml.FIX}")
def test_by_nft_every_packet_is_shaped_arp_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    out, err = io.BytesIO(), io.BytesIO()
    command = [sys.executable, "-m", "tests.support.network.nft_guest"]
    status = uml.run_in_uml(command, timeout_s=120, real_time=True, stdout=out, stderr=err)
    assert status == 0, err.getvalue().decode()
    seen = json.loads(out.getvalue().decode().splitlines()[-1])
    print(seen)
    assert seen["hook"] == "nft"
    # The guest is slow: this is about what is shaped, not how exactly.
    assert 40.0 <= statistics.median(seen["rtts_ms"]) < 50.0
    assert seen["rtt_with_arp_ms"] >= 80.0  # the question and its answer took the link's delay as well
    assert seen["rtts_while_down_ms"] == []
    assert seen["arrived"] >= 20
