"""Ten satellites on one station for half an hour: memory and descriptors stay flat, the report stays small.

Not collected by itself; takes as long as it says, and some 6 GiB of memory:

    sudo .venv/bin/python -m tests.campaign.soak --minutes 30 --frames 2000 --satellites 10

`--own-machine` gives it network namespaces of its own, so that other tests can run meanwhile. The contacts
have gaps, so that connections are made again and again. Frames go to the ground, whose model is a server
that says "yes": what is loaded is the testbed, not the models.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodes.models import COMPACT
from tests.support import ROOT
from tests.support.faulty_run import noise_frames
from tests.support.faulty_server import faulty_server
from tests.support.footprint import Footprint
from tests.support.own_machine import enter_own_machine

SAMPLE_S = 5.0
CONTACT_S, GAP_S = 50.0, 10.0
IMAGES = 20
SIDE_PX = 200
RATE_BIT_S = 4e6
# Growth of a process from the third fifth of the time to the last one.
GROWTH_MAX_BYTES, GROWTH_MAX_SHARE = 4 << 20, 0.05
DESCRIPTORS_GROWTH_MAX = 4
# The run itself keeps every event until it has made its report of them; nothing else may grow.
EVENT_BYTES = 3000
RUN = "testbed.cli.main run"
REPORT_MAX_BYTES = 10_000_000
HEADER = """# spaceverse-trace 2
# satellite: {satellite}
# station: G
# start_utc: 2018-01-20T00:00:00Z
# end_s: {end_s}
# made_by: a soak
time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss
"""


@dataclass
class Series:
    """What one process had at each sample."""

    command: str
    times_s: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def growth(self, values: list[int], length_s: float) -> float:
        """Return the median in the last fifth of the time less that in the third fifth."""
        pairs = list(zip(self.times_s, values, strict=True))
        early = [value for at_s, value in pairs if 0.4 * length_s <= at_s < 0.6 * length_s]
        late = [value for at_s, value in pairs if 0.8 * length_s <= at_s < length_s]
        return statistics.median(late) - statistics.median(early) if early and late else 0.0

    def figures(self, length_s: float) -> dict[str, Any]:
        """Return the figures of this process."""
        return {
            "samples": len(self.times_s),
            "most_bytes": max(self.bytes),
            "growth_bytes": self.growth(self.bytes, length_s),
            "most_descriptors": max(self.descriptors),
            "growth_descriptors": self.growth(self.descriptors, length_s),
        }

    def troubles(self, length_s: float, events: int) -> list[str]:
        """Return what is not flat, in a run of so many events."""
        shown, found = self.figures(length_s), []
        most_bytes = max(GROWTH_MAX_BYTES, GROWTH_MAX_SHARE * shown["most_bytes"])
        if RUN in self.command:
            most_bytes += EVENT_BYTES * events * 0.4  # those of two fifths of the time
        if shown["growth_bytes"] > most_bytes:
            found.append(f"{self.command}: {shown['growth_bytes'] / 1e6:.1f} MB more")
        if shown["growth_descriptors"] > DESCRIPTORS_GROWTH_MAX:
            found.append(f"{self.command}: {shown['growth_descriptors']:.0f} more descriptors")
        return found


def command_of(pid: int) -> str:
    """Return a short name of a process: program and what it is about."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").split()
    names = [Path(word).parent.name if word.endswith("config.json") else Path(word).name for word in words]
    return " ".join(name for name in names if name and not name.startswith("python"))[:60]


def sample(mark: str, series: dict[int, Series], at_s: float) -> None:
    """Note memory and descriptors of each process whose environment has the mark."""
    for process in Path("/proc").glob("[0-9]*"):
        pid = int(process.name)
        try:
            if pid not in series and mark.encode() not in (process / "environ").read_bytes():
                continue
            fields = dict(
                line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line
            )
            of = series.setdefault(pid, Series(command_of(pid)))
            rss_bytes = int(fields["VmRSS"].split()[0]) << 10
            count = len(list((process / "fd").iterdir()))
        except (OSError, KeyError):  # it has ended
            continue
        of.times_s.append(at_s)
        of.bytes.append(rss_bytes)
        of.descriptors.append(count)


def write_trace(folder: Path, satellite: str, length_s: float, first_s: float) -> Path:
    """Write a trace of contacts with gaps, the first from `first_s` on."""
    rows, at_s = ["0.0,0,0.0,0.0,0.0,0.0,0.0,0.0"], first_s
    while at_s < length_s:
        rows.append(f"{at_s},1,{RATE_BIT_S},500000.0,0.008,0.008,0.0,0.0")
        if at_s + CONTACT_S < length_s:
            rows.append(f"{at_s + CONTACT_S},0,0.0,0.0,0.0,0.0,0.0,0.0")
        at_s += CONTACT_S + GAP_S
    path = folder / f"{satellite}.csv"
    path.write_text(HEADER.format(satellite=satellite, end_s=length_s) + "\n".join(rows) + "\n")
    return path


def write_scenario(folder: Path, satellites: int, frames: int, length_s: float, server: str) -> Path:
    """Write the scenario: frames evenly over the time, satellites one after the other."""
    images = [str(frame.image) for frame in noise_frames(folder, IMAGES, 1, SIDE_PX)]
    each = frames // satellites
    every_s = (length_s - CONTACT_S) / each  # the last frame has a contact left
    names = [f"S{number}" for number in range(satellites)]
    starts_s = [1 + (CONTACT_S + GAP_S) * number / satellites for number in range(satellites)]

    def frame(satellite: int, number: int) -> dict[str, Any]:
        at_s = 1 + every_s * (number + satellite / satellites)
        image = images[(number + satellite) % IMAGES]
        return {
            "frame": f"s{satellite}-{number}", "image": image, "prompt": "?", "truth": "yes",
            "capture_s": at_s,
        }  # fmt: skip

    whole = {
        "name": "soak",
        "satellites": [
            {
                "name": name, "model": str(COMPACT), "policy": "ground-only",
                "frames": [frame(order, number) for number in range(each)],
            }
            for order, name in enumerate(names)
        ],
        "stations": [{"name": "G", "model": server}],
        "links": [
            {
                "satellite": name, "station": "G",
                "follows": str(write_trace(folder, name, length_s, first_s)),
            }
            for name, first_s in zip(names, starts_s, strict=True)
        ],
    }  # fmt: skip
    path = folder / "soak.json"
    path.write_text(json.dumps(whole))
    return path


def soak(folder: Path, satellites: int, frames: int, length_s: float) -> dict[str, Any]:
    """Run and sample; return the figures."""
    series: dict[int, Series] = {}
    with Footprint() as footprint, faulty_server() as server:
        scenario = write_scenario(folder, satellites, frames, length_s, server)
        mark = f"{footprint.mark_name}={footprint.environment[footprint.mark_name]}"
        command = [sys.executable, "-m", "testbed.cli.main", "run", str(scenario)]
        with (folder / "said.txt").open("wb") as said:
            run = subprocess.Popen(
                [*command, "--output", str(folder / "runs")],
                cwd=ROOT, env=footprint.environment, stdout=said, stderr=said,
            )  # fmt: skip
            began_s: float | None = None
            events = None
            while run.poll() is None:
                time.sleep(SAMPLE_S)
                events = events or next(folder.glob("runs/*/events.jsonl"), None)
                if began_s is None:  # the time until all models are loaded is no part of it
                    playing = events is not None and '"event": "link"' in events.read_text()
                    began_s = time.monotonic() if playing else None
                    continue
                sample(mark, series, time.monotonic() - began_s)
        left = footprint.left_behind()
    (made,) = folder.glob("runs/*")
    results = json.loads((made / "results.json").read_text())
    (folder / "series.json").write_text(
        json.dumps({pid: vars(of) for pid, of in series.items()}, indent=None)
    )
    long_lived = [of for of in series.values() if len(of.times_s) * SAMPLE_S > 0.7 * length_s]
    kinds = Counter(json.loads(line)["event"] for line in (made / "events.jsonl").read_text().splitlines())
    figures: dict[str, Any] = {
        "exit_code": run.returncode,
        "headline": results["verdict"]["headline"],
        "totals": results["totals"],
        "warnings": results["warnings"],
        "report_bytes": (made / "report.html").stat().st_size,
        "results_bytes": (made / "results.json").stat().st_size,
        "events": sum(kinds.values()),
        "events_by_kind": dict(kinds.most_common(12)),
        "processes": {of.command: of.figures(length_s) for of in long_lived},
        "left_behind": left,
    }
    troubles = [trouble for of in long_lived for trouble in of.troubles(length_s, figures["events"])]
    if figures["report_bytes"] > REPORT_MAX_BYTES:
        troubles.append(f"a report of {figures['report_bytes']} bytes")
    if results["totals"]["answered"] != frames // satellites * satellites:
        troubles.append(f"only {results['totals']['answered']} frames have an answer")
    troubles += [f"{kind}: {remains}" for kind, remains in left.items()]
    return {**figures, "troubles": troubles}


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--frames", type=int, default=2000, help="of all satellites")
    parser.add_argument("--satellites", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="where files of the run stay (default: removed)")
    parser.add_argument("--own-machine", action="store_true", help="in network namespaces of its own")
    options = parser.parse_args()
    if options.own_machine:
        enter_own_machine()
    with tempfile.TemporaryDirectory(prefix="soak") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        figures = soak(folder, options.satellites, options.frames, options.minutes * 60)
    print(json.dumps(figures, indent=1))
    return 1 if figures["troubles"] else 0


if __name__ == "__main__":
    sys.exit(main())
