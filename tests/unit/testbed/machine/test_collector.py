"""What a run gathers is not looked through for cycles, and is afterwards."""

from __future__ import annotations

import gc

from testbed.machine.collector import SparedObjects


def test_objects_are_spared_as_they_come_and_until_the_end() -> None:
    kept: list[list[int]] = []
    before = gc.get_freeze_count()
    with SparedObjects(every=100) as spared:
        begun = gc.get_freeze_count()
        assert begun > before
        kept += [[number] for number in range(1000)]
        spared.look(99)
        assert gc.get_freeze_count() == begun
        spared.look(100)
        assert gc.get_freeze_count() >= begun + 1000
        frozen = gc.get_freeze_count()
        kept += [[number] for number in range(1000)]
        spared.look(199)
        assert gc.get_freeze_count() == frozen
    assert gc.get_freeze_count() == 0
