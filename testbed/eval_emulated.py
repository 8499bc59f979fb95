"""The same frames over the emulated network: real programs, models and links, beside the event model.

The satellite's program follows whole-answer policies so far (FOLLOWED); the others cannot be played yet. Each
case is its first pass, in real time.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from testbed.errors import CapabilityError, ScenarioError
from testbed.scenario import Frame, GroundStation, Link, Satellite, Scenario
from testbed.split import FrameResult
from traces.trace import Trace

# Policies of the event model, and the threshold with which the satellite's program does the same.
FOLLOWED = {"offload-after": 0.75, "satellite-only": 0.0}
AFTER_LOS_S = 5.0


@dataclass(frozen=True)
class Difference:
    """One policy over one link, played and modelled.

    compared: frames that both answered. same: of those, with one answer by the same end. answered: by each.
    Latency less the wait for contact is given too: a long wait is alike in both and would hide the rest.
    """

    link: str
    policy: str
    frames: int
    answered_emulated: int
    answered_modelled: int
    compared: int
    same: int
    latency_emulated_s: float
    latency_modelled_s: float
    without_wait_emulated_s: float
    without_wait_modelled_s: float

    @property
    def latency_difference(self) -> float:
        """The event model's mean latency against the emulated one, relative."""
        return (
            self.latency_modelled_s / self.latency_emulated_s - 1 if self.latency_emulated_s else float("nan")
        )

    def text(self) -> str:
        """One line for people."""
        return (
            f"{self.link}, {self.policy}: {self.same} of {self.compared} answers alike; mean latency "
            f"{self.latency_emulated_s:.3f} s emulated, {self.latency_modelled_s:.3f} s modelled "
            f"({self.latency_difference * 100:+.1f} %), without the wait for contact "
            f"{self.without_wait_emulated_s:.3f} s and {self.without_wait_modelled_s:.3f} s; "
            f"answered {self.answered_emulated} and {self.answered_modelled} of {self.frames}"
        )

    def to_json(self) -> dict[str, Any]:
        """Everything, with the difference."""
        return {**asdict(self), "latency_difference": self.latency_difference}


def check_followed(policies: Sequence[str]) -> None:
    """Raise before any work, where nothing could be played: no root, or no policy that can be followed."""
    if not set(policies) & set(FOLLOWED):
        raise ScenarioError(f"--emulated plays {', '.join(FOLLOWED)}; --policies names neither")
    if os.geteuid() != 0:
        raise CapabilityError("--emulated makes network namespaces and needs root: put sudo in front")


def scenario_of(folder: Path, link: str, policy: str, until_s: float, names: tuple[str, str]) -> Scenario:
    """The scenario that plays a policy's frames of one link, up to a scenario second.

    Args:
        folder: of the evaluation's results.
        link: name of one of its traces.
        names: of satellite and station.

    Raises ScenarioError for a policy that the satellite's program does not follow.
    """
    if policy not in FOLLOWED:
        raise ScenarioError(
            f"the satellite's program does not follow {policy} yet; --emulated plays {', '.join(FOLLOWED)}"
        )
    models = json.loads((folder / "results.json").read_text(encoding="utf-8"))["models"]
    questions = json.loads((folder / "questions.json").read_text(encoding="utf-8"))
    rows = [row for row in modelled(folder, link, policy) if float(row["capture_s"]) < until_s]
    if not rows:
        raise ScenarioError(f"{link}: no frame is taken before {until_s:g} s; play longer")
    path = folder / "traces" / f"{link}-played.csv"
    _first_contact(Trace.read(folder / "traces" / f"{link}.csv"), until_s).write(path)
    satellite, station = names
    return Scenario(
        name=f"{link}-{policy}",
        satellites=(
            Satellite(
                name=satellite,
                model=models["compact"],
                accept_confidence=FOLLOWED[policy],
                frames=tuple(
                    Frame(frame=row["pair"], capture_s=float(row["capture_s"]), **questions[row["pair"]])
                    for row in rows
                ),
            ),
        ),
        stations=(GroundStation(name=station, model=models["regular"]),),
        links=(Link(satellite=satellite, station=station, follows=path),),
    )


def _first_contact(trace: Trace, until_s: float) -> Trace:
    return trace.cut(0.0, min(trace.contacts()[0].los_s + AFTER_LOS_S, until_s, trace.end_s))


def modelled(folder: Path, link: str, policy: str) -> list[dict[str, str]]:
    """The event model's rows of one link and policy."""
    with (folder / "pairs.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if (row["link"], row["policy"]) == (link, policy)]


def compare(
    link: str, policy: str, rows: Sequence[Mapping[str, str]], played: Sequence[FrameResult], until_s: float
) -> Difference:
    """Set played frames beside modelled ones; an answer after `until_s` counts as none in both."""
    of_pair = {row["pair"]: row for row in rows}
    in_time = {
        row["pair"]
        for row in rows
        if row["answered"] == "True" and float(row["capture_s"]) + float(row["latency_s"]) <= until_s
    }
    done = {frame.frame: frame for frame in played if frame.end_to_end_s is not None}
    both = sorted(in_time & set(done))
    if not both:
        raise ScenarioError(f"{link}, {policy}: no frame was answered by both; play longer")
    return Difference(
        link=link,
        policy=policy,
        frames=len(played),
        answered_emulated=len(done),
        answered_modelled=len(in_time & {frame.frame for frame in played}),
        compared=len(both),
        same=sum(
            (done[name].answer, done[name].answered_by)
            == (of_pair[name]["answer"], of_pair[name]["answered_by"])
            for name in both
        ),
        latency_emulated_s=fmean(done[name].end_to_end_s or 0.0 for name in both),
        latency_modelled_s=fmean(float(of_pair[name]["latency_s"]) for name in both),
        without_wait_emulated_s=fmean(_without_wait_s(done[name]) for name in both),
        without_wait_modelled_s=fmean(
            float(of_pair[name]["latency_s"]) - float(of_pair[name]["wait_s"]) for name in both
        ),
    )


def _without_wait_s(frame: FrameResult) -> float:
    waited_s = frame.split.wait_for_contact_s if frame.split else 0.0
    return (frame.end_to_end_s or 0.0) - waited_s


def play(
    folder: Path,
    links: Sequence[str],
    policies: Sequence[str],
    until_s: float,
    names: tuple[str, str],
    terminal: Any,
) -> list[Difference]:
    """Play each followed policy over each link, and write `emulated.json`. Needs root."""
    from testbed.progress import Progress  # noqa: PLC0415 - Mininet is slow to import
    from testbed.run import run_scenario  # noqa: PLC0415

    found = []
    for link in links:
        for policy in policies:
            outcome = run_scenario(
                scenario_of(folder, link, policy, until_s, names), folder / "runs", Progress(terminal)
            )
            if outcome.results is None:
                raise KeyboardInterrupt
            end_s = Trace.read(folder / "traces" / f"{link}-played.csv").end_s
            found.append(compare(link, policy, modelled(folder, link, policy), outcome.results.frames, end_s))
            terminal.print(found[-1].text(), soft_wrap=True)
    making = folder / ".emulated.json"
    making.write_text(json.dumps([one.to_json() for one in found], indent=2) + "\n", encoding="utf-8")
    making.replace(folder / "emulated.json")
    return found
