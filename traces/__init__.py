"""Contact traces: computed from orbits, read from recordings, edited, written and drawn.

A `Trace` is a link between a satellite and a ground station over time: the rate, delay and loss of each
direction.

    from traces import FLOCK_TLE, find_satellite, make_trace, parse_utc, read_elements, station, write_trace

    dove = find_satellite(read_elements(FLOCK_TLE), "FLOCK 2P-1")
    trace = make_trace(dove, station("Svalbard"), parse_utc("2018-01-20T00:00:00Z"), 6 * 3600)
    write_trace(trace, "pass.csv")

The names below are this package's public API. Each is imported from its module when it is first used, so that
`import traces` loads neither NumPy nor skyfield.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from traces.errors import (
        ElementFileWarning,
        LinkBudgetError,
        OrbitError,
        OutputFileError,
        StaleElementsWarning,
        StationError,
        TimeError,
        TleError,
        TraceError,
        TraceInputError,
        UnitError,
        UnknownSatelliteError,
    )
    from traces.make import make_trace
    from traces.orbits.crosslink import make_crosslink_trace
    from traces.orbits.eclipse import eclipses
    from traces.orbits.element_set import ElementSet
    from traces.orbits.elements import find_satellite, read_elements
    from traces.orbits.orbit import LookAngles, ground_track, look_angles
    from traces.orbits.passes import Pass, PassTable, find_passes, passes_over
    from traces.orbits.stations import STATIONS, GroundStation, station
    from traces.orbits.tle import FLOCK_TLE
    from traces.orbits.walker import parse_walker, walker
    from traces.plot import plot_trace
    from traces.radio.link_budget import PRESETS, Radio, RadioLink, preset
    from traces.recordings.formats import read_recording
    from traces.recordings.recording import Assumptions
    from traces.trace import Contact, Trace, TraceHeader, TraceRow
    from traces.trace_file import read_trace, write_trace
    from traces.units import parse_duration_s, parse_rate_bit_s, parse_share, parse_size_bytes
    from traces.utc import format_utc, parse_utc

__all__ = [
    "FLOCK_TLE",
    "PRESETS",
    "STATIONS",
    "Assumptions",
    "Contact",
    "ElementFileWarning",
    "ElementSet",
    "GroundStation",
    "LinkBudgetError",
    "LookAngles",
    "OrbitError",
    "OutputFileError",
    "Pass",
    "PassTable",
    "Radio",
    "RadioLink",
    "StaleElementsWarning",
    "StationError",
    "TimeError",
    "TleError",
    "Trace",
    "TraceError",
    "TraceHeader",
    "TraceInputError",
    "TraceRow",
    "UnitError",
    "UnknownSatelliteError",
    "eclipses",
    "find_passes",
    "find_satellite",
    "format_utc",
    "ground_track",
    "look_angles",
    "make_crosslink_trace",
    "make_trace",
    "parse_duration_s",
    "parse_rate_bit_s",
    "parse_share",
    "parse_size_bytes",
    "parse_utc",
    "parse_walker",
    "passes_over",
    "plot_trace",
    "preset",
    "read_elements",
    "read_recording",
    "read_trace",
    "station",
    "walker",
    "write_trace",
]

_NAMES_BY_MODULE = {
    "traces.errors": (
        "ElementFileWarning",
        "LinkBudgetError",
        "OrbitError",
        "OutputFileError",
        "StaleElementsWarning",
        "StationError",
        "TimeError",
        "TleError",
        "TraceError",
        "TraceInputError",
        "UnitError",
        "UnknownSatelliteError",
    ),
    "traces.make": ("make_trace",),
    "traces.orbits.crosslink": ("make_crosslink_trace",),
    "traces.orbits.eclipse": ("eclipses",),
    "traces.orbits.element_set": ("ElementSet",),
    "traces.orbits.elements": ("find_satellite", "read_elements"),
    "traces.orbits.orbit": ("LookAngles", "ground_track", "look_angles"),
    "traces.orbits.passes": ("Pass", "PassTable", "find_passes", "passes_over"),
    "traces.orbits.stations": ("STATIONS", "GroundStation", "station"),
    "traces.orbits.tle": ("FLOCK_TLE",),
    "traces.orbits.walker": ("parse_walker", "walker"),
    "traces.plot": ("plot_trace",),
    "traces.radio.link_budget": ("PRESETS", "Radio", "RadioLink", "preset"),
    "traces.recordings.formats": ("read_recording",),
    "traces.recordings.recording": ("Assumptions",),
    "traces.trace": ("Contact", "Trace", "TraceHeader", "TraceRow"),
    "traces.trace_file": ("read_trace", "write_trace"),
    "traces.units": ("parse_duration_s", "parse_rate_bit_s", "parse_share", "parse_size_bytes"),
    "traces.utc": ("format_utc", "parse_utc"),
}
_MODULE_OF = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}


if not TYPE_CHECKING:  # type checkers would take it as a promise that every name exists

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used (PEP 562)."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_MODULE_OF[name]), name)
        globals()[name] = value  # the next access does not come here
        return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
