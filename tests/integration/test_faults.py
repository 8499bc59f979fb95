"""Whatever fails or fills up in a real run, every image arrives once or is reported as lost.

CI runs a few faults; all sixty take about five minutes:

    sudo FAULTS=60 .venv/bin/python -m pytest -s tests/integration/test_faults.py
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.support.faulty_run import FaultyRun
from tests.support.footprint import Footprint

pytestmark = pytest.mark.root
FAULTS = int(os.environ.get("FAULTS", "7"))
SEED = int(os.environ.get("SEED", "20261124"))
RATE_BIT_S = 1e6
IMAGES_PER_FAULT = 1.0


@pytest.mark.long
def test_every_image_arrives_once_or_is_reported(tmp_path: Path) -> None:
    drawn = random.Random(SEED)  # noqa: S311 - seeded so that a failure can be repeated
    kinds = [FaultyRun.FAULTS[number % len(FaultyRun.FAULTS)] for number in range(FAULTS)]
    drawn.shuffle(kinds)
    done: Counter[str] = Counter()
    with Footprint() as footprint:
        with FaultyRun(tmp_path, max(8, int(FAULTS * IMAGES_PER_FAULT)), RATE_BIT_S, SEED) as run:
            for fault in kinds:
                run.wait_for(lambda: run.under_way() or run.settled(), "image under way")
                run.wait(drawn.uniform(0.1, 1.5))
                done[fault.__name__ + ("" if run.under_way() else ", nothing under way")] += 1
                fault(run)
            run.wait_for(run.settled, "end of every image")
            run.wait(2.0)  # whatever would come twice comes now
            refused = check(run)
            arrived = len(run.frames) - len(refused)
            print(json.dumps({"faults": done, "arrived once": arrived, "refused": refused}, indent=1))
        assert footprint.left_behind() == {}


def check(run: FaultyRun) -> dict[str, str]:
    """Each image once with its sha256, or not at all and reported: these, with the reason."""
    copies = Counter(run.seen.values())
    wanted = {run.sha256(name): name for name in run.frames}
    assert copies.keys() <= wanted.keys(), "something arrived that nobody sent"
    assert max(copies.values()) == 1, "an image arrived twice"
    lost = run.lost()
    assert all(lost.values()), "refused without a reason"
    missing = {name for sha256, name in wanted.items() if sha256 not in copies}
    assert missing <= lost.keys(), "lost in silence"
    assert len(copies) > len(wanted) / 2, "so much was refused that nothing was tested"
    # What is there has its own sha256, too, unless room was made of what had been answered.
    for data, sha256 in run.seen.items():
        assert data.stat().st_size == 0 or _sha256(data) == sha256
    return {name: lost[name] for name in missing}


def _sha256(path: Path) -> str:

    return hashlib.sha256(path.read_bytes()).hexdigest()
