"""The live page in a browser: of a real run while it goes, when it ends, and replayed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.watched_page import PHONE, WatchedPage
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
        grace_s=1,
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


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("live")
    (folder / "pass.csv").write_text(TRACE)
    (folder / "short.py").write_text(SCENARIO.format(prompt=MARKUP, trace=str(folder / "pass.csv")))
    page, process = started("run", str(folder / "short.py"), "--live", "-o", str(folder / "runs"))
    yield Run(page, process, folder / "runs")
    process.terminate()
    process.wait(20)


def test_contacts_come_and_go_with_the_trace_and_the_end_disturbs_nothing(
    run: Run, browser: Browser, screenshots: Path
) -> None:
    page = WatchedPage.open(browser, run.page.url)
    seen: dict[bool, float] = {}
    before, others = False, 0
    until_s = time.monotonic() + 90
    while page.text("#phase") != "ended" and time.monotonic() < until_s:
        now = page.contacts()[LINK]
        if now != before:
            seen[now] = time.monotonic()
            before = now
            page.page.screenshot(path=screenshots / f"live-{'up' if now else 'down'}.png")
        if now and others == 0:
            others += 1  # a page that is opened late, reloaded and closed
            late = WatchedPage.open(browser, run.page.url, dark=True)
            assert late.contacts() == {LINK: True}
            late.page.reload()
            late.page.close()
            assert late.errors == []
        time.sleep(0.05)
    start_s = run.start_s()
    assert seen[True] - start_s == pytest.approx(AOS_S, abs=1)
    assert seen[False] - start_s == pytest.approx(LOS_S, abs=1)
    assert page.errors == []
    assert page.hosts == {"127.0.0.1"}
    assert run.process.wait(30) == 0, "the run was disturbed"
    assert page.page.title() == "short - SpaceVerse", "a prompt was taken for markup"
    page.page.screenshot(path=screenshots / "live-ended.png", full_page=True)

    results = {one["frame"]: one for one in json.loads((run.folder / "results.json").read_text())["frames"]}
    for name, result in results.items():
        card = page.card(name)
        assert result["prompt"] in card
        assert f"“{result['answer']}”" in card
        assert ("right" if result["correct"] else "wrong") in card.split("\n")[0]
        assert re.search(r"stage \d: tokens \d+ %, network not available", card)
        assert re.search(r"on the link [\d.]+ m?s", card)
        assert page.page.eval_on_selector(f'[data-frame="{name}"] img', "image => image.naturalWidth") > 0
    assert page.faults() == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [(1280, 800), PHONE])
def test_a_replay_shows_any_moment_and_everybody_can_use_it(
    run: Run, browser: Browser, screenshots: Path, size: tuple[int, int], dark: bool
) -> None:
    run.process.wait(60)
    told, process = started("live", str(run.folder))
    try:
        page = WatchedPage.open(browser, told.url, size, dark=dark)
        for time_s, is_up in ((8, True), (16, False), (2, False), (10, True)):
            page.page.fill("#moment", str(time_s))
            wait_for(lambda up=is_up: page.contacts() == {LINK: up}, f"state at {time_s} s", 1)  # type: ignore[misc]
        assert "under way" in page.card("e0078") or "right" in page.card("e0078")
        page.page.screenshot(path=screenshots / f"replay-{size[0]}{'-dark' if dark else ''}.png")
        page.page.click("#play")
        wait_for(lambda: page.text("#time") == f"{END_S:.0f} s", "end of the replay", 5)
        assert {"play", "moment", "replay-speed", "plain", "link", "frames"} <= page.reached_by_keyboard()
        assert not page.is_cut()
        assert page.faults() == []
        assert page.errors == []
        assert page.hosts == {"127.0.0.1"}
        page.page.close()
    finally:
        process.terminate()
        process.wait(10)
