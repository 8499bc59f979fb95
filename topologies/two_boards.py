"""Two boards beside an emulated satellite; time jumps while none of them has anything to do.

    sudo .venv/bin/python topologies/two_boards.py

Attach the boards and name them jetson-1 and jetson-2 in boards.toml before (docs/boards.md).
"""

from pathlib import Path

from nodes import COMPACT, FIRST_LIGHT, REGULAR
from testbed import GroundStation, Link, Orbit, RadioChanges, Satellite, Scenario, read_frames, run_as_script
from traces import FLOCK_TLE, parse_utc

# Three Doves that follow each other over Svalbard; the last one rises after 263 s.
BOARDS = {"FLOCK 3P-52": None, "FLOCK 2P-1": "jetson-1", "FLOCK 2P-12": "jetson-2"}
CAPTURES_S = (2, 4, 6)


def scenario() -> Scenario:
    """Run three Doves over Svalbard, of which two are boards."""
    frames = read_frames(FIRST_LIGHT, CAPTURES_S * len(BOARDS))
    return Scenario(
        name=Path(__file__).stem,
        description="Two boards and an emulated Dove pass over Svalbard on 20 January 2018.",
        satellites=tuple(
            Satellite(
                name=name,
                board=board,
                model=str(COMPACT),
                frames=frames[number :: len(BOARDS)],
                accept_confidence=0.75,
            )
            for number, (name, board) in enumerate(BOARDS.items())
        ),
        stations=(GroundStation(name="Svalbard", model=str(REGULAR)),),
        links=tuple(
            Link(
                satellite=name,
                station="Svalbard",
                follows=Orbit(
                    elements=FLOCK_TLE,
                    start=parse_utc("2018-01-20T14:35:45Z"),
                    length_s=420,
                    elevation_mask_deg=10,
                    downlink=RadioChanges(rate_cap_bit_s=4e6),
                ),
            )
            for name in BOARDS
        ),
        skip_idle=True,
    )


if __name__ == "__main__":
    raise SystemExit(run_as_script(scenario))
