"""The live page in a browser: of a real run while it goes, when it ends, and replayed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.watched_page import DESKTOP, PHONE, WatchedPage
from tests.support import ROOT
from tests.support.live_page import LivePage, page_told_by
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.root, pytest.mark.browser]

AOS_S, LOS_S, END_S = 4.0, 14.0, 18.0
TRACE = f"""# spaceverse-trace 2
# satellite: FLOCK 2P-1
# station: Svalbard
# start_utc: 2018-01-20T14:38:30Z
# end_s: {END_S}
# made_by: a test
time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss
0.0,0,0.0,0.0,0.0,0.0,0.0,0.0
{AOS_S},1,4000000.0,250000.0,0.006,0.006,0.0,0.0
{LOS_S},0,0.0,0.0,0.0,0.0,0.0,0.0
"""
MARKUP = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
SCENARIO = """
from pathlib import Path
from nodes import COMPACT, FIRST_LIGHT, REGULAR
from testbed import GroundStation, Link, Satellite, Scenario, read_frames

def scenario():
    first, *others = read_frames(FIRST_LIGHT, (1, 2, 3, 6))
    return Scenario(
        name="short",
        satellites=(
            Satellite(
                name="FLOCK 2P-1",
                model=str(COMPACT),
                accept_confidence=0.9,
                frames=(first.model_copy(update={{"prompt": {prompt!r}}}), *others),
            ),
        ),
        stations=(GroundStation(name="Svalbard", model=str(REGULAR)),),
        links=(Link(satellite="FLOCK 2P-1", station="Svalbard", follows=Path({trace!r})),),
        grace_s=20,
    )
"""
LINK = "FLOCK 2P-1 - Svalbard"


@dataclass
class Run:
    """A run in progress, or its folder afterwards."""

    page: LivePage
    process: subprocess.Popen[str]
    parent: Path

    @property
    def folder(self) -> Path:
        (folder,) = self.parent.iterdir()
        return folder

    def start_s(self) -> float:
        """Return scenario second 0, CLOCK_MONOTONIC."""
        events = [json.loads(line) for line in (self.folder / "events.jsonl").read_text().splitlines()]
        return next(e["monotonic_s"] - e["time_s"] for e in events if e["event"] == "captured")


def started(*words: str) -> tuple[LivePage, subprocess.Popen[str]]:
    """Return the page that a command of spaceverse offers."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "testbed.cli", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return page_told_by(process.stdout, []), process


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    (tmp_path / "pass.csv").write_text(TRACE)
    (tmp_path / "short.py").write_text(SCENARIO.format(prompt=MARKUP, trace=str(tmp_path / "pass.csv")))
    page, process = started("run", str(tmp_path / "short.py"), "--live", "-o", str(tmp_path / "runs"))
    yield Run(page, process, tmp_path / "runs")
    process.terminate()
    process.wait(20)


def test_a_run_is_shown_while_it_goes_and_replayed_afterwards(
    run: Run, browser: Browser, screenshots: Path
) -> None:
    page = WatchedPage.open(browser, run.page.url)
    check_contacts(run, page, browser, screenshots)
    assert run.process.wait(60) == 0, "the run failed, or was disturbed"
    assert page.page.title() == "short - SpaceVerse", "a prompt was taken for markup"
    page.page.screenshot(path=screenshots / "live-ended.png", full_page=True)
    check_cards(run, page)
    assert page.faults() == []
    assert page.errors == []
    assert page.hosts == {"127.0.0.1"}

    told, process = started("live", str(run.folder))
    try:
        for size in (DESKTOP, PHONE):
            for dark in (False, True):
                replayed = WatchedPage.open(browser, told.url, size, dark=dark)
                check_replay(replayed)
                replayed.page.screenshot(path=screenshots / f"replay-{size[0]}{'-dark' if dark else ''}.png")
                replayed.page.close()
    finally:
        process.terminate()
        process.wait(10)


def check_contacts(run: Run, page: WatchedPage, browser: Browser, screenshots: Path) -> None:
    """Watch the page until the run ends: contacts come and go within 1 s of the trace."""
    seen: dict[bool, float] = {}
    before, others = False, 0
    until_s = time.monotonic() + 120
    while page.text("#phase") != "ended" and time.monotonic() < until_s:
        now = page.contacts()[LINK]
        if now != before:
            seen[now] = time.monotonic()
            before = now
            page.page.screenshot(path=screenshots / f"live-{'up' if now else 'down'}.png")
        if now and others == 0:
            others += 1  # a page that is opened late, reloaded and closed
            late = WatchedPage.open(browser, run.page.url, dark=True)
            wait_for(partial(late.shows, {LINK: True}), "contact on a page that was opened late", 2)
            late.page.reload()
            late.page.close()
            assert late.errors == []
        time.sleep(0.05)
    start_s = run.start_s()
    assert seen[True] - start_s == pytest.approx(AOS_S, abs=1)
    assert seen[False] - start_s == pytest.approx(LOS_S, abs=1)


def check_cards(run: Run, page: WatchedPage) -> None:
    """Check that each frame's card has the parts that the results have."""
    results = json.loads((run.folder / "results.json").read_text())["frames"]
    for result in results:
        card = page.card(result["frame"])
        assert result["prompt"] in card
        assert f"“{result['answer']}”" in card
        assert ("right" if result["correct"] else "wrong") in card.split("\n")[0]
        assert re.search(r"stage \d: tokens \d+ %, network not available", card)
        assert result["decision"]["why"] in card
        assert re.search(r"on the link [\d.]+ m?s", card)
        picture = f'[data-frame="{result["frame"]}"] img'
        assert page.page.eval_on_selector(picture, "image => image.naturalWidth") > 0


def check_replay(page: WatchedPage) -> None:
    """Check that a replay shows any moment, by keyboard too, and without faults."""
    for time_s, is_up in ((8, True), (16, False), (2, False), (10, True)):
        page.page.fill("#moment", str(time_s))
        wait_for(partial(page.shows, {LINK: is_up}), f"state at {time_s} s", 2)
    page.page.click("#play")
    wait_for(lambda: page.text("#time") == f"{END_S:.0f} s", "end of the replay", 20)
    assert {"play", "moment", "replay-speed", "plain", "link", "frames"} <= page.reached_by_keyboard()
    assert not page.is_cut()
    assert page.faults() == []
    assert page.errors == []
    assert page.hosts == {"127.0.0.1"}
