"""Chromium of the Debian package, driven by Playwright, which must not fetch one of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SCREENSHOTS = ROOT / "build/screenshots"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright  # other tests need not have it

    program = shutil.which("chromium")
    assert program is not None, "run `make test-live`, which installs Chromium"
    with sync_playwright() as playwright:
        # The tests run as root, under which Chromium has no sandbox; it opens our own pages only.
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def screenshots() -> Path:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return SCREENSHOTS
