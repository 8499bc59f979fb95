"""A gate keeps a link down, and lets it follow the trace's latest state once it is open."""

from __future__ import annotations

from testbed.network.link_state import DOWN_STATE, LinkState
from testbed.run.dishes.gate import GatedLink

SLOW, FAST = LinkState(True, 1e6, 0.01), LinkState(True, 2e6, 0.01)
DOWN = (DOWN_STATE, DOWN_STATE)


class Recorded:
    """What is written to a link."""

    name, sky = "a link", None

    def __init__(self) -> None:
        self.written: list[tuple[LinkState, LinkState]] = []

    def set(self, down: LinkState, up: LinkState) -> None:
        self.written.append((down, up))

    def check(self) -> None:
        raise RuntimeError("checked")


def test_a_closed_gate_writes_nothing_and_an_open_one_the_latest_state() -> None:
    link = Recorded()
    gate = GatedLink(link)
    gate.set(SLOW, SLOW)
    gate.set(FAST, SLOW)
    assert link.written == [] and gate.passes == DOWN
    gate.turn(is_open=True)
    gate.turn(is_open=True)
    assert link.written == [(FAST, SLOW)] == [gate.passes]
    gate.set(SLOW, SLOW)
    gate.turn(is_open=False)
    assert link.written[1:] == [(SLOW, SLOW), DOWN]
    gate.set(*DOWN)
    gate.turn(is_open=True)
    assert len(link.written) == 3, "the pass has ended, and the link is down"
