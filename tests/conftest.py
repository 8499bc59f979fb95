"""Rules for all tests: root, no skips in CI, and repeats on a starved machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext

import pytest

from tests.support.own_machine import enter_own_machine
from tests.support.starved import Starvation

# A test with one of these marks that failed while the machine was starved runs again and is listed as RERUN;
# its last outcome counts. Every other failure counts at once.
REPEATABLE = ("root", "alone", "light")
REPEATS = 4
_WATCH = pytest.StashKey[Starvation]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--own-machines",
        action="store_true",
        help="give each worker network namespaces, /run and a journal of its own, so that tests that need "
        "root can run side by side (with --numprocesses)",
    )


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    # Last: other plugins of a worker connect to the main process by loopback first.
    if hasattr(session.config, "workerinput") and session.config.getoption("own_machines"):
        enter_own_machine()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell ignores it in background jobs
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[_WATCH] = watch = Starvation()
    watch.__enter__()
    config.add_cleanup(watch.__exit__)
    if config.getoption("own_machines") and not hasattr(config, "workerinput"):
        config.add_cleanup(_models_of_all_workers())


def _models_of_all_workers() -> Callable[[], object]:
    """Start the process that the workers to come find by the environment; return what ends it."""
    from tests.support.kept_models import kept_models  # not for unit tests and guests

    models = ExitStack()
    models.enter_context(kept_models())
    return models.close


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep tests that share a fixture on one worker; xdist reads the groups before it modifies the items."""
    if _shares_a_fixture(item):
        item.add_marker(pytest.mark.xdist_group(item.path.stem))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests that need root without it; repeat those that measure time if the machine was starved.

    Long tests begin first, so that none is left at the end.
    """
    items.sort(key=lambda item: item.get_closest_marker("long") is None)  # otherwise in their order
    for item in items:
        if config.getoption("loadgroup", False) and item.get_closest_marker("xdist_group"):
            assert "@" in item.nodeid, "pytest-xdist does not see groups: see pytest in setup.py"
        if any(item.get_closest_marker(mark) for mark in REPEATABLE):
            starved = pytest.mark.flaky(reruns=REPEATS, condition=lambda _: config.stash[_WATCH].starved)
            item.add_marker(starved)
        if os.geteuid() != 0 and item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root: sudo make test"))


def _shares_a_fixture(item: pytest.Item) -> bool:
    """Return whether a test outside of tests/unit shares a fixture with others of its module."""
    definitions = item._fixtureinfo.name2fixturedefs.values()  # type: ignore[attr-defined]
    shared = any(fixture.scope == "module" for found in definitions for fixture in found)
    return shared and "tests/unit" not in item.nodeid


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    item.config.stash[_WATCH].forget()
    yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    repeats = len(terminalreporter.stats.get("rerun", []))
    terminalreporter.write_line(f"repeats of tests on a starved machine: {repeats}")


@pytest.fixture(scope="session")
def models_of_all_runs() -> Iterator[None]:
    """One process for the models of all runs of the session; workers have one in common."""
    from tests.support.kept_models import KEPT_MODELS, kept_models  # not for unit tests and guests

    with nullcontext() if KEPT_MODELS in os.environ else kept_models():
        yield


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skipped test is a missing capability; a CI that misses one proves less than it says."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if "CI" in os.environ and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("CI must not skip tests; install what the reasons name", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
