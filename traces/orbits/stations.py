"""Ground stations: a small catalogue of real ones, and any other place on Earth.

Coordinates are geodetic (WGS 84), as published by the operators and Wikipedia, and accurate to about 1 km,
which changes the one-way delay by at most 3.3 microseconds. A site has many antennas, and it is not public
which one serves a pass, so more digits would not be more accurate.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass

from traces.errors import StationError

DEFAULT_MASK_DEG = 5.0
"""The usual minimum elevation of X-band reception, assumed for every station of the catalogue."""


@dataclass(frozen=True)
class GroundStation:
    """A place on the ground with an antenna.

    Args:
        name: the name in reports and trace headers.
        latitude_deg: geodetic latitude, north positive, -90 to 90.
        longitude_deg: longitude, east positive, -180 to 360.
        altitude_m: altitude above the WGS 84 ellipsoid, -500 to 9000.
        elevation_mask_deg: minimum elevation for a contact, -5 to 90 (90 excluded).

    Raises:
        StationError: A coordinate or the mask is out of range.
    """

    name: str
    latitude_deg: float
    longitude_deg: float
    altitude_m: float
    elevation_mask_deg: float = DEFAULT_MASK_DEG

    def __post_init__(self) -> None:
        for quantity, value, least, greatest, unit in (
            ("latitude", self.latitude_deg, -90, 90, "degrees"),
            ("longitude", self.longitude_deg, -180, 360, "degrees"),
            ("altitude", self.altitude_m, -500, 9000, "m"),
        ):
            if not least <= value <= greatest:
                expected = f"expected {least} to {greatest} {unit}"
                raise StationError(f"station {self.name!r}: {quantity} {value:g} is out of range; {expected}")
        check_mask(self.elevation_mask_deg)


def check_mask(elevation_mask_deg: float) -> float:
    """Return the elevation mask if it is valid.

    Raises:
        StationError: The mask is not in [-5, 90) degrees. It may be negative, since a station on a mountain
            sees satellites below its horizontal.
    """
    if not (math.isfinite(elevation_mask_deg) and -5 <= elevation_mask_deg < 90):
        raise StationError(
            f"elevation mask {elevation_mask_deg:g} is out of range; expected -5 to below 90 degrees"
        )
    return elevation_mask_deg


STATIONS = (
    GroundStation("Svalbard", 78.230, 15.408, 450),  # SvalSat, Plataberget, Norway (KSAT)
    GroundStation("Tromso", 69.663, 18.941, 130),  # Norway (KSAT)
    GroundStation("Inuvik", 68.318, -133.534, 60),  # Canada (DLR, SSC, Planet among others)
    GroundStation("Kiruna", 67.857, 20.964, 402),  # Salmijarvi, Sweden (ESA)
    GroundStation("Fairbanks", 64.859, -147.854, 200),  # Alaska Satellite Facility, USA
    GroundStation("Neustrelitz", 53.330, 13.070, 70),  # Germany (DLR)
    GroundStation("Wallops", 37.925, -75.476, 10),  # Virginia, USA (NASA)
    GroundStation("Maspalomas", 27.763, -15.634, 205),  # Gran Canaria, Spain (INTA, ESA)
    GroundStation("South Point", 19.014, -155.663, 370),  # Hawaii, USA (SSC)
    GroundStation("Hartebeesthoek", -25.887, 27.707, 1560),  # South Africa (SANSA)
    GroundStation("Dongara", -29.046, 115.349, 250),  # Western Australia (SSC)
    GroundStation("Santiago", -33.151, -70.667, 730),  # Peldehue, Chile (SSC)
    GroundStation("Awarua", -46.529, 168.381, 10),  # New Zealand (SpaceOps NZ)
    GroundStation("Punta Arenas", -52.938, -70.857, 30),  # Chile (SSC, KSAT)
    GroundStation("Troll", -72.012, 2.535, 1270),  # TrollSat, Antarctica (KSAT)
)

_OTHER_NAMES = {"svalsat": "Svalbard", "trollsat": "Troll", "alaska": "Fairbanks", "hawaii": "South Point"}
_PLACE = re.compile(r"[-+.,\d\s]+")


def station(text: str) -> GroundStation:
    """Return a station of the catalogue by its name, or a station anywhere on Earth by its coordinates.

    Args:
        text: a name of `STATIONS`, in any case, or "latitude,longitude,altitude" in degrees and metres.

    Raises:
        StationError: The name is unknown (the message suggests similar ones), or a coordinate is out of
            range.
    """
    if _PLACE.fullmatch(text) and "," in text:
        return _station_at(text)
    by_key = {_key(known.name): known for known in STATIONS}
    key = _key(_OTHER_NAMES.get(_key(text), text))
    if key in by_key:
        return by_key[key]
    close = [by_key[near].name for near in difflib.get_close_matches(key, by_key, n=3, cutoff=0.5)]
    hint = f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(s.name for s in STATIONS)};"
    raise StationError(f"no ground station {text!r}; {hint} Or use lat,lon,alt, such as 78.23,15.41,450")


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.strip().lower()).replace("ø", "o")


def _station_at(text: str) -> GroundStation:
    try:
        latitude_deg, longitude_deg, altitude_m = (float(part) for part in text.split(","))
    except ValueError:
        raise StationError(f"{text!r} is not a place; expected lat,lon,alt such as 78.23,15.41,450") from None
    return GroundStation(text.strip(), latitude_deg, longitude_deg, altitude_m)
