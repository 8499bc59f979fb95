"""Comparison of the event model with runs over the emulated network, with real programs, models and links.

Each case is the first part of its first pass, or a part of a named load, in real time. The event model's
results for the same part are in `modelled.csv`. The oracle, which is no policy, is left out.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import ValidationError

from nodes.contract.evaluation import JobCase
from nodes.contract.files import write_atomically
from nodes.contract.queueing import SendOrder, completion_times_s
from testbed.errors import CapabilityError, ScenarioError, TestbedError
from testbed.evaluation.load_part import trace_of
from testbed.results.latency import FrameResult
from testbed.scenario.model import Frame, GroundStation, Link, Satellite, Scenario, one_line
from traces.trace_file import write_trace

NOT_PLAYED = "oracle"  # an upper bound: it knows every answer beforehand


@dataclass(frozen=True)
class Difference:
    """Emulated and modelled results of one policy over one link.

    Attributes:
        compared: Number of frames that were answered in both.
        same: Number of those with the same answer from the same node.
        latency_at_pace_s: Modelled latency with the emulated run's ground inference times. The event model's
            own times are measured separately, and the shared host of an emulation is slower.
        without_wait_emulated_s: Latency minus the wait for contact, which is equal in both and would hide
            other differences.
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
    latency_at_pace_s: float
    without_wait_emulated_s: float
    without_wait_modelled_s: float
    dropped_emulated: int = 0
    dropped_modelled: int = 0

    @property
    def latency_difference(self) -> float:
        """Relative difference of modelled from emulated mean latency."""
        return self._against_emulated(self.latency_modelled_s)

    @property
    def latency_difference_at_pace(self) -> float:
        """The same with the emulated run's ground inference times, due to link, queues and programs alone."""
        return self._against_emulated(self.latency_at_pace_s)

    def _against_emulated(self, latency_s: float) -> float:
        return latency_s / self.latency_emulated_s - 1 if self.latency_emulated_s else float("nan")

    def text(self) -> str:
        """Return the comparison as one line."""
        return (
            f"{self.link}, {self.policy}: {self.same} of {self.compared} answers equal; mean latency "
            f"{self.latency_emulated_s:.3f} s emulated, {self.latency_modelled_s:.3f} s modelled "
            f"({self.latency_difference * 100:+.1f} %; {self.latency_difference_at_pace * 100:+.1f} % "
            f"with the emulated run's ground inference times), without the wait for contact "
            f"{self.without_wait_emulated_s:.3f} s and {self.without_wait_modelled_s:.3f} s; "
            f"answered {self.answered_emulated} and {self.answered_modelled} of {self.frames}"
            + (
                f", dropped {self.dropped_emulated} and {self.dropped_modelled}"
                if self.dropped_emulated or self.dropped_modelled
                else ""
            )
        )

    def to_json(self) -> dict[str, Any]:
        """Return all fields and the differences."""
        return {
            **asdict(self),
            "latency_difference": self.latency_difference,
            "latency_difference_at_pace": self.latency_difference_at_pace,
        }


def check_playable(policies: Sequence[str], send_order: SendOrder, ground_servers: int = 1) -> None:
    """Check that something can be run over the emulated network.

    Raises:
        ScenarioError: No policy except the oracle is requested, images are to be sent by deadline, or the
            ground has several servers.
        CapabilityError: The process is not root.
    """
    if not set(policies) - {NOT_PLAYED}:
        raise ScenarioError(f"--emulated runs all policies except {NOT_PLAYED}; --policies names no other")
    if send_order == "deadline":  # an image on board past its deadline is dropped there, and not in the model
        raise ScenarioError(
            "--emulated cannot send by deadline: omit it, or use --send-order oldest or newest"
        )
    if ground_servers > 1:
        raise ScenarioError(
            "--emulated has one regular model on the ground: omit it, or omit --ground-servers"
        )
    if os.geteuid() != 0:
        raise CapabilityError(
            "--emulated creates network namespaces and needs root: prefix the command with sudo"
        )


def scenario_of(folder: Path, link: str, policy: str, names: tuple[str, str]) -> Scenario:
    """Return the scenario that runs a policy over a link, with the parameters that the evaluation selected.

    Args:
        folder: Folder of the evaluation's results.
        link: Name of an emulated link.
        policy: Name or file of the policy.
        names: Names of the satellite and the station.

    Raises:
        ScenarioError: The results do not make a valid scenario.
    """
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    questions = json.loads((folder / "questions.json").read_text(encoding="utf-8"))
    rows = modelled(folder, link, policy)
    try:
        return _scenario(folder, link, policy, names, results, questions, rows)
    except ValidationError as error:
        raise ScenarioError(f"{link}, {policy} cannot be emulated: {one_line(error)}") from None


def _scenario(
    folder: Path,
    link: str,
    policy: str,
    names: tuple[str, str],
    results: Mapping[str, Any],
    questions: Mapping[str, Any],
    rows: Sequence[Mapping[str, str]],
) -> Scenario:
    satellite, station = names
    models = results["models"]
    return Scenario(
        name=f"{link}-{Path(policy).stem}",
        satellites=(
            Satellite(
                name=satellite,
                model=models["compact"],
                policy=policy,
                policy_parameters=folder / "policies.json",
                confidence=folder / "confidence",
                profile=results["compute_times"]["profile"],
                **results.get("options", {}),
                send_order=results.get("send_order", "oldest"),
                frames=tuple(
                    Frame(
                        frame=row["pair"], capture_s=float(row["capture_s"]), **_asked(questions[row["pair"]])
                    )
                    for row in rows
                ),
            ),
        ),
        stations=(
            GroundStation(
                name=station,
                model=models["regular"],
                profile=results.get("ground", {}).get("profile"),
                **results.get("options", {}),
            ),
        ),
        links=(Link(satellite=satellite, station=station, follows=folder / "traces" / f"{link}.csv"),),
    )


def _asked(question: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a question that a frame of a scenario has."""
    return {name: value for name, value in question.items() if name != "record"}


def modelled(folder: Path, link: str, policy: str) -> list[dict[str, str]]:
    """Return the event model's rows of one link and policy."""
    with (folder / "modelled.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if (row["link"], row["policy"]) == (link, policy)]


def compare(
    link: str, policy: str, rows: Sequence[Mapping[str, str]], frames: Sequence[FrameResult]
) -> Difference:
    """Compare emulated frames with the event model's rows.

    Raises:
        ScenarioError: No frame was answered in both.
    """
    of_pair = {row["pair"]: row for row in rows}
    answered_modelled = {row["pair"] for row in rows if row["answered"] == "True"}
    answered = {frame.frame: frame for frame in frames if frame.end_to_end_s is not None}
    both = sorted(answered_modelled & set(answered))
    at_pace_s = _latencies_at_pace_s(rows, answered)
    if not both:
        raise ScenarioError(f"{link}, {policy}: no frame was answered in both; use a longer --emulated")
    return Difference(
        link=link,
        policy=policy,
        frames=len(frames),
        answered_emulated=len(answered),
        answered_modelled=len(answered_modelled),
        compared=len(both),
        same=sum(
            (answered[name].answer, answered[name].answered_by)
            == (of_pair[name]["answer"], of_pair[name]["answered_by"])
            for name in both
        ),
        latency_emulated_s=fmean(answered[name].end_to_end_s or 0.0 for name in both),
        latency_modelled_s=fmean(float(of_pair[name]["latency_s"]) for name in both),
        latency_at_pace_s=fmean(at_pace_s.get(name, float(of_pair[name]["latency_s"])) for name in both),
        without_wait_emulated_s=fmean(_without_wait_s(answered[name]) for name in both),
        without_wait_modelled_s=fmean(
            float(of_pair[name]["latency_s"]) - float(of_pair[name]["contact_wait_s"]) for name in both
        ),
        dropped_emulated=sum(frame.dropped for frame in frames),
        dropped_modelled=sum(row["decision"] == "Drop" for row in rows),
    )


def _latencies_at_pace_s(
    rows: Sequence[Mapping[str, str]], answered: Mapping[str, FrameResult]
) -> dict[str, float]:
    """Return modelled latencies of frames answered on the ground, with the emulated run's inference times."""
    sent = [row for row in rows if row["answered"] == "True" and row["answered_by"] == "ground"]
    inference_s = {
        name: frame.latency.ground_inference_s
        for name, frame in answered.items()
        if frame.latency is not None and frame.answered_by == "ground"
    }
    arrivals = [
        (float(row["received_s"]), inference_s.get(row["pair"], float(row["ground_inference_s"])))
        for row in sent
    ]
    return {
        row["pair"]: answered_s - float(row["capture_s"])
        for row, answered_s in zip(sent, completion_times_s(arrivals), strict=True)
    }


def _without_wait_s(frame: FrameResult) -> float:
    contact_wait_s = frame.latency.contact_wait_s if frame.latency else 0.0
    return (frame.end_to_end_s or 0.0) - contact_wait_s


def _check(frames: Sequence[FrameResult], link: str, policy: str) -> None:
    failed = [frame for frame in frames if frame.failure is not None]
    if failed:
        raise TestbedError(
            f"{link}, {policy}: {len(failed)} of {len(frames)} frames failed: {failed[0].failure}"
        )


def write_load_traces(
    folder: Path, parts: Sequence[JobCase], names: tuple[str, str], start_utc: datetime
) -> None:
    """Write the traces of parts of named loads, with the rates that the evaluation has scaled.

    Args:
        folder: Folder of the evaluation's results.
        parts: Emulated cases of the job; those of passes have their traces already.
        names: Names of the satellite and the station.
        start_utc: Time at which the loads begin.
    """
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    rate_bit_s = {case["name"]: case["rate_bit_s"] for case in results["cases"]}
    for part in parts:
        if part.of_load:
            begin_utc = start_utc + timedelta(seconds=part.begins_s)
            trace = trace_of(part, rate_bit_s[part.of_load], *names, begin_utc)
            write_trace(trace, folder / "traces" / f"{part.passes[0].name}.csv")


def play(
    folder: Path, links: Sequence[str], policies: Sequence[str], names: tuple[str, str], terminal: Any
) -> list[Difference]:
    """Run each policy except the oracle over each emulated link, and write `emulated.json`.

    Needs root.

    Args:
        folder: Folder of the evaluation's results.
        links: Names of the emulated links.
        policies: Names or files of policies.
        names: Names of the satellite and the station.
        terminal: Console for progress and comparisons.

    Raises:
        ScenarioError: A scenario is invalid, or no frame was answered both ways.
        TestbedError: A policy, a model or the choice of regions failed about a frame.
    """
    from testbed.run.progress import TerminalProgress  # Mininet is slow to import
    from testbed.run.run import run_scenario

    differences = []
    for link in links:
        for policy in policies:
            if policy == NOT_PLAYED:
                continue
            scenario = scenario_of(folder, link, policy, names)
            outcome = run_scenario(scenario, folder / "runs", TerminalProgress(terminal))
            if outcome.results is None:
                raise KeyboardInterrupt
            _check(outcome.results.frames, link, policy)
            rows = modelled(folder, link, policy)
            differences.append(compare(link, policy, rows, outcome.results.frames))
            terminal.print(differences[-1].text(), soft_wrap=True)
    text = json.dumps([difference.to_json() for difference in differences], indent=2) + "\n"
    write_atomically(folder / "emulated.json", text)
    return differences
