"""Without power for its radio a satellite has no contact, whatever the link's carrier says."""

from __future__ import annotations

import math
from pathlib import Path

from nodes.contract.config import Station
from nodes.contract.events import ContactChanged, Event
from nodes.power.supply import Mains, RadioUse
from nodes.transfer.downlink import Downlink
from nodes.transfer.outbox import Outbox
from tests.support.nodes.ends import free_port
from tests.support.waiting import wait_for


class SwitchedRadio(Mains):
    """A supply whose radio the test switches."""

    def __init__(self) -> None:
        self.radio_on = False
        self.uses: list[RadioUse] = []

    def radio(self, use: RadioUse) -> None:
        if self.uses[-1:] != [use]:
            self.uses.append(use)


class Carrier:
    """A link that is up."""

    def up(self) -> bool:
        return True

    def look(self) -> bool:
        return True


def test_a_radio_without_power_hears_no_carrier(tmp_path: Path) -> None:
    contacts: list[bool] = []

    def report(event: Event, *, monotonic_s: float | None = None) -> None:
        if isinstance(event, ContactChanged):
            contacts.append(event.up)

    outbox, supply = Outbox(tmp_path / "outbox", "s", 1000), SwitchedRadio()
    outbox.add_image("a", b"x" * 3000, {"prompt": "?"})
    station = Station(name="G", host="127.0.0.1", port=free_port())  # nobody listens there
    downlink = Downlink(
        satellite="S", stations={station: Carrier()}, outbox=outbox, rate_bit_s=1e6, report=report
    )
    downlink.supply = supply
    downlink.start()
    try:
        wait_for(lambda: contacts == [False] and supply.uses == ["off"], "the first look")
        assert downlink.due_s() == math.inf  # nothing to do: time may be skipped
        supply.radio_on = True
        assert downlink.due_s() == -math.inf
        downlink.wake()
        wait_for(lambda: contacts == [False, True] and supply.uses == ["off", "on"], "contact")
        supply.radio_on = False
        downlink.wake()
        wait_for(lambda: contacts[-1] is False and supply.uses[-1] == "off", "the radio's end")
    finally:
        downlink.stop()
        downlink.join(5)
