"""What holds for all tests: who may run them, that CI skips none, and what a starved machine does to them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.starved import Starvation

# A failure counts if the machine was awake; else the test runs again and is listed as RERUN; the last counts.
RERUNS = 4
_WATCH = pytest.StashKey[Starvation]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.stash[_WATCH] = watch = Starvation()
    watch.__enter__()
    config.add_cleanup(watch.__exit__)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs root when we are not; let what failed on a starved machine be repeated."""
    for item in items:
        item.add_marker(pytest.mark.flaky(reruns=RERUNS, condition=lambda _: config.stash[_WATCH].starved))
        if os.geteuid() != 0 and item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root: sudo make test"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    item.config.stash[_WATCH].forget()
    yield


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skipped test is a missing capability; a CI that misses one proves less than it says."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if "CI" in os.environ and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("CI must not skip tests; install what the reasons name", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
