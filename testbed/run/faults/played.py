"""Plays the faults of a scenario: those of programs; those of links are in the links' traces."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nodes.contract.events import Event, FaultBegan, FaultEnded
from testbed.errors import ScenarioError
from testbed.run.faults.weights import Flip, damaged_copy
from testbed.run.plan import RunPlan
from testbed.run.programs.user_programs import UserPrograms
from testbed.run.supervision import SupervisedNode
from testbed.scenario.faults import BitFlips, Fault, SatelliteLost, StationDown, described

FLIPS_TOLD = 8

Report = Callable[[Event, float], None]


class RunFaults:
    """The faults of a run.

    Args:
        plan: the run's plan.
        nodes: the run's programs by the node's name.
        programs: the user's own programs.
        report: takes an event and its scenario time.

    Attributes:
        missed: frames that a lost satellite did not capture.
    """

    def __init__(
        self, plan: RunPlan, nodes: Mapping[str, SupervisedNode], programs: UserPrograms, report: Report
    ) -> None:
        self._plan, self._nodes, self._programs, self._report = plan, nodes, programs, report
        self._faults: tuple[Fault, ...] = plan.scenario.faults
        moments = [(fault.at_s, 1, number) for number, fault in enumerate(self._faults)]
        moments += [
            (fault.until_s, 0, number)
            for number, fault in enumerate(self._faults)
            if fault.until_s is not None
        ]
        self._left = sorted(moments)  # of two at a time, one that ends goes first
        self._just_s: float | None = None
        self._flips: dict[int, tuple[Flip, ...]] = {}
        self.missed: set[str] = set()

    def prepare(self) -> None:
        """Make the damaged copies of weights. Raises ScenarioError."""
        for number, fault in enumerate(self._faults):
            if isinstance(fault, BitFlips):
                model = Path(self._plan.scenario.satellite(fault.target).model)
                try:
                    self._flips[number] = damaged_copy(
                        model, self._copy_path(number), fault.flips, fault.seed
                    )
                except (OSError, ValueError) as error:
                    raise ScenarioError(f"bit flips in the weights of {fault.target}: {error}") from error

    @property
    def next_s(self) -> float:
        """Scenario time of the next begin or end, or of the one just played; infinite if there is none.

        No jump passes it: until the next `look`, nobody may know that a program starts again.
        """
        if self._just_s is not None:
            return self._just_s
        return self._left[0][0] if self._left else math.inf

    def look(self, now_s: float) -> None:
        """Do what is due; to be called often."""
        self._just_s = None
        while self._left and self._left[0][0] <= now_s:
            time_s, begins, number = self._left[0]
            self._just_s = time_s
            self._left.pop(0)
            fault = self._faults[number]
            if begins:
                began = FaultBegan(
                    fault=number + 1,
                    what=fault.what,
                    target=fault.target,
                    until_s=fault.until_s,
                    effect=self._effect(number, fault),
                )
                self._report(began, time_s)
                self._begin(number, fault)
            else:
                self._end(fault)
                self._report(FaultEnded(fault=number + 1, what=fault.what, target=fault.target), time_s)

    def _begin(self, number: int, fault: Fault) -> None:
        reason = f"fault: {fault.what}"
        if isinstance(fault, SatelliteLost):
            self.missed |= {
                frame.frame
                for frame in self._plan.scenario.satellite(fault.target).frames
                if fault.span[0] <= frame.capture_s < fault.span[1]
            }
        if isinstance(fault, SatelliteLost | StationDown):
            node = self._nodes.get(fault.target)  # a station that only forwards has no program
            if node is not None and fault.until_s is None:
                node.lose(reason)
            elif node is not None:
                node.pause(reason)
            self._programs.lose(fault.target)
        elif isinstance(fault, BitFlips):
            self._restart(fault.target, f"{reason}; it starts again with the damaged copy", number)

    def _end(self, fault: Fault) -> None:
        if isinstance(fault, SatelliteLost):
            self._plan.write_config(fault.target, self._without_missed(fault.target))
        if isinstance(fault, SatelliteLost | StationDown):
            if fault.target in self._nodes:
                self._nodes[fault.target].resume()
            self._programs.resume(fault.target)
        elif isinstance(fault, BitFlips):
            self._restart(fault.target, "it starts again with sound weights", None)

    def _restart(self, satellite: str, reason: str, number: int | None) -> None:
        """Start a satellite again, with the damaged copy of a fault or without."""
        node = self._nodes[satellite]
        node.pause(reason)
        changes = self._without_missed(satellite)
        if number is not None:
            model = self._plan.scenario.satellite(satellite).model
            changes |= {"model": str(self._copy_path(number)), "damaged_from": model}
        self._plan.write_config(satellite, changes)
        node.resume()

    def _without_missed(self, satellite: str) -> dict[str, Any]:
        """Return the frames of a satellite less those that it did not capture, for its configuration."""
        frames = self._plan.node_configs()[satellite]["frames"]
        return {"frames": [frame for frame in frames if frame["frame"] not in self.missed]}

    def _copy_path(self, number: int) -> Path:
        return self._plan.folder.path / "faults" / f"weights-{number + 1}"

    def _effect(self, number: int, fault: Fault) -> str:
        flips = self._flips.get(number, ())
        told = "; ".join(flip.line() for flip in flips[:FLIPS_TOLD])
        more = f"; and {len(flips) - FLIPS_TOLD} more" if len(flips) > FLIPS_TOLD else ""
        return described(fault) + (f": {told}{more}" if told else "")
