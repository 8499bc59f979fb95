"""Promises that README makes about itself."""

from __future__ import annotations

import re

from tests.support import ROOT
from tests.support.code_blocks import pages

LINK = re.compile(r"\]\((?!https?://)(?P<path>[^)#\s]+)?(?:#(?P<anchor>[^)\s]+))?\)")


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= 6 * 1024


def test_links_within_the_project_lead_somewhere() -> None:
    for page in pages():
        for match in LINK.finditer(page.read_text(encoding="utf-8")):
            target = page if match["path"] is None else page.parent / match["path"]
            assert target.exists(), f"{page.name} links to {match['path']}"
            if match["anchor"]:
                headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
                labels = re.findall(r"^\(([\w-]+)\)=$", target.read_text(encoding="utf-8"), re.MULTILINE)
                anchors = {*labels} | {
                    re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings
                }
                assert match["anchor"] in anchors, f"{page.name} links to {match['path']}#{match['anchor']}"
