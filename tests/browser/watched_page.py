"""A page in the browser, with all that it did wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.support import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

AXE = ROOT / "live/node_modules/axe-core/axe.min.js"
DESKTOP, PHONE = (1280, 800), (390, 844)


@dataclass
class WatchedPage:
    """A page that has loaded a run.

    Attributes:
        page: Playwright's page.
        errors: what its console and its scripts complained of.
        hosts: where its requests and sockets went to.
    """

    page: Page
    errors: list[str] = field(default_factory=list)
    hosts: set[str | None] = field(default_factory=set)

    @classmethod
    def open(
        cls, browser: Browser, url: str, size: tuple[int, int] = DESKTOP, *, dark: bool = False
    ) -> WatchedPage:
        """Return the page at `url`, when it shows the run."""
        width, height = size
        page = browser.new_page(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        made = cls(page)
        page.on("console", made._note)
        page.on("pageerror", lambda error: made.errors.append(str(error)))
        page.on("request", lambda request: made.hosts.add(_host_of(request.url)))
        page.on("websocket", lambda socket: made.hosts.add(_host_of(socket.url)))
        page.goto(url)
        page.wait_for_selector("#main[aria-busy=false]")
        return made

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def text(self, selector: str) -> str:
        """Return the text of an element."""
        return self.page.inner_text(selector)

    def contacts(self) -> dict[str, bool]:
        """Return whether each link is shown as up."""
        rows = "rows => rows.map(row => [row.dataset.link, row.cells[1].textContent.startsWith('up')])"
        return dict(self.page.eval_on_selector_all("#contacts tr", rows))

    def shows(self, contacts: dict[str, bool]) -> bool:
        """Return whether these are the contacts that are shown."""
        return self.contacts() == contacts

    def card(self, frame: str) -> str:
        """Return the text of a frame's card."""
        return self.text(f'[data-frame="{frame}"]')

    def faults(self) -> list[str]:
        """Return the serious faults that axe-core finds, each in one line."""
        self.page.evaluate(AXE.read_text())
        found: list[dict[str, Any]] = self.page.evaluate("axe.run().then(result => result.violations)")
        return [
            f"{one['id']}: {json.dumps(one['nodes'][0]['target'])}: {one['help']}"
            for one in found
            if one["impact"] in ("serious", "critical")
        ]

    def is_cut(self) -> bool:
        """Return whether the page is wider than its window, so that one must scroll sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))

    def reached_by_keyboard(self, most: int = 60) -> set[str]:
        """Return the ids and classes of what the Tab key reaches."""
        reached = set()
        for _ in range(most):
            self.page.keyboard.press("Tab")
            reached.add(self.page.evaluate("document.activeElement.id || document.activeElement.className"))
        return reached


def _host_of(url: str) -> str | None:
    return "127.0.0.1" if url.startswith(("blob:http://127.0.0.1:", "data:")) else urlsplit(url).hostname
