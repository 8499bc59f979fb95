"""Progress of a run that is logged, and what displays of it derive from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

from nodes.contract.events import EventRecord
from testbed.run.progress.sentences import sentence
from traces.trace import Trace

_LOG = logging.getLogger(__name__)


class Progress:
    """Progress that is logged but not shown. All methods are called from the run's own thread."""

    def shown(self, total_frames: int) -> AbstractContextManager[None]:
        """Show the progress while the body runs."""
        return nullcontext()

    def step(self, text: str) -> None:
        """Report that a step of building or removing has begun."""
        _LOG.info("%s", text)

    def playing(self, traces: Mapping[str, Trace]) -> None:
        """Report that the links begin to follow their traces."""
        _LOG.info("links follow their traces: %s", ", ".join(traces))

    def event(self, record: EventRecord) -> None:
        """Report an event of a node or of the run."""
        if text := sentence(record):
            _LOG.info("%s", text)
        else:
            _LOG.debug("%s", record.to_json())

    def tick(self, now_s: float) -> None:
        """Update the display for scenario time `now_s`."""
