"""Packets that links lose at the end of contacts are counted per contact."""

from __future__ import annotations

import pytest

from nodes.contract.events import ContactLosses, LinkChanged
from testbed.run.routed import losses
from testbed.run.routed.losses import LossWatch

COUNTED = ("purged", "dropped_down", "dropped_queue")


def changed(link: str, *, up: bool) -> LinkChanged:
    return LinkChanged(link=link, up=up, lateness_s=0.0)


class Watched:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(losses, "LATE_S", 0.0)
        self.down = dict.fromkeys(COUNTED, 0.0)
        self.up = dict.fromkeys(COUNTED, 0.0)
        self.told: list[ContactLosses] = []
        self.watch = LossWatch(lambda _: {"down": self.down, "up": self.up}, self.told.append)


def test_each_contact_is_counted_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    watched.watch.note(changed("L", up=False))  # before the first contact
    watched.watch.look()
    assert watched.told == []
    for inside, late in ((5, 2), (0, 0), (1, 0)):
        watched.watch.note(changed("L", up=True))
        watched.down["purged"] += inside
        watched.up["dropped_down"] += late
        watched.watch.note(changed("L", up=False))
        watched.watch.look()
    assert [(one.inside, one.late, one.overflow) for one in watched.told] == [(5, 2, 0), (0, 0, 0), (1, 0, 0)]


def test_packets_that_come_a_moment_later_are_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    monkeypatch.setattr(losses, "LATE_S", 60.0)
    watched.watch.note(changed("L", up=True))
    watched.watch.note(changed("L", up=False))
    watched.watch.look()
    assert watched.told == []
    watched.up["dropped_down"] = 3.0
    watched.watch.look(last=True)
    assert watched.told == [ContactLosses(link="L", inside=0, late=3, overflow=0)]


def test_a_shaper_that_does_not_count_them_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    watched.down = {"delivered": 1.0}
    watched.watch.note(changed("L", up=True))
    watched.watch.note(changed("L", up=False))
    watched.watch.look(last=True)
    assert watched.told == []
