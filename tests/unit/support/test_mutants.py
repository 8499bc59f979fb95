"""The kept mutants fit the product as it is; tests.mutants.run tells whether tests notice them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.mutants.mutant import GoneError, Mutant, read_list
from tests.support import ROOT

PACKAGES = ("nodes/transfer/", "nodes/board/", "nodes/contract/", "testbed/mqtt/", "testbed/boards/")
MUTANTS = read_list()


def test_each_kept_mutant_is_still_one() -> None:
    gone = []
    for mutant in MUTANTS:
        try:
            assert mutant.applied() != (ROOT / mutant.file).read_text(encoding="utf-8")
        except GoneError as error:
            gone.append(str(error))
    assert not gone, "\n".join(gone)


def test_there_are_enough_and_each_package_has_some_and_each_test_exists() -> None:
    assert len({(m.file, m.where, m.old, m.new) for m in MUTANTS}) == len(MUTANTS) >= 100
    for package in PACKAGES:
        assert sum(m.file.startswith(package) for m in MUTANTS) >= 8
    assert [path for m in MUTANTS for path in m.tests.split() if not (ROOT / path).exists()] == []


def test_a_text_that_is_gone_or_there_twice_is_told() -> None:
    mutant = Mutant("nodes/contract/topics.py", "slug", "hyphenated", "x", "test", "")
    with pytest.raises(GoneError, match="2 times in slug"):
        mutant.applied()
    for changed in (replace(mutant, old="nowhere"), replace(mutant, where="no_function")):
        with pytest.raises(GoneError, match=r"mutants\.json"):
            changed.applied()
    assert 'digest = "x"' in replace(mutant, old="digest = ", new='digest = "x" or ').applied()
