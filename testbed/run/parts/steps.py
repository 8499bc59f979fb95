"""The steps of a run: told as they begin, and not begun when the run is to stop."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.machine.stop_request import StopRequest
from testbed.run.folder import RunFolder
from testbed.run.progress import Progress


@dataclass(frozen=True)
class Steps:
    """Leads a run from step to step.

    Args:
        folder: the run's folder.
        progress: display of the progress.
        stop: the user's wish to stop.
    """

    folder: RunFolder
    progress: Progress
    stop: StopRequest

    def begin(self, step: str) -> None:
        """Tell that a step begins, in the folder that the run has made."""
        self.folder.check_place()
        self.progress.step(step)

    def check_stop(self) -> None:
        """Raise Stopped if the user wants the run to stop."""
        self.stop.check()
