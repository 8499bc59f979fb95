"""Progress of a run: logged, as lines in a pipe, or as a live view on a terminal."""

from testbed.run.progress.progress import Progress
from testbed.run.progress.several import SeveralProgress
from testbed.run.progress.terminal import TerminalProgress

__all__ = ["Progress", "SeveralProgress", "TerminalProgress"]
