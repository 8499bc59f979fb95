"""A recording of a Starlink link between a satellite and mission control, with its handovers.

    sudo STARLINK_RECORDING=victoria.csv .venv/bin/python topologies/starlink_replay.py

Any recording that `spaceverse replay` reads will do: LENS, WetLinks, `ping -D`, the history of a dish. Every
15 s, Starlink assigns other satellites to a terminal: the delay jumps, and packets are lost or wait.
"""

import os
from pathlib import Path

from nodes import COMPACT, FIRST_LIGHT, REGULAR
from testbed import GroundStation, Link, Recorded, Satellite, Scenario, read_frames, run_as_script

RECORDING = Path(os.environ.get("STARLINK_RECORDING", "starlink.csv"))
CAPTURES_S = range(2, 50, 4)


def scenario() -> Scenario:
    """Run a minute of a recorded Starlink link; STARLINK_RECORDING names the recording."""
    return Scenario(
        name=Path(__file__).stem,
        description="A satellite that reaches the ground through Starlink, as recorded.",
        satellites=(
            Satellite(
                name="Terminal",
                model=str(COMPACT),
                frames=read_frames(FIRST_LIGHT, CAPTURES_S),
                policy="ground-only",
            ),
        ),
        stations=(GroundStation(name="Mission control", model=str(REGULAR)),),
        links=(
            Link(
                satellite="Terminal",
                station="Mission control",
                follows=Recorded(
                    file=RECORDING,
                    # A recording of delays has no rate. With this one, most handovers are within an image.
                    down_bit_s=300e3,
                    up_bit_s=10e6,
                    length_s=60,
                ),
            ),
        ),
    )


if __name__ == "__main__":
    raise SystemExit(run_as_script(scenario))
