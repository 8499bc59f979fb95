"""Walker constellations: generated element sets of fictitious satellites.

The notation i: T/P/F is that of J. G. Walker ("Satellite constellations", J. Brit. Interplanetary Soc. 37,
1984): T satellites in P planes of inclination i. The planes are spread evenly along the equator, over 360
degrees (delta) or 180 degrees (star). The satellites of a plane are ahead of those of the previous plane by
F * 360 / T degrees.
"""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timezone

from traces.errors import OrbitError
from traces.orbits.element_set import ElementSet
from traces.utc import format_utc

_EARTH_RADIUS_M = 6_378_135.0  # WGS 72, which SGP4 uses; so is the next constant
_EARTH_MU_M3_S2 = 3.986008e14
_MOST = 100_000
WALKER_TEXT = r"^([\d.]+):(\d+)/(\d+)/(\d+)@([\d.]+)(star|delta)?$"
"""The form of a constellation as text; see `parse_walker`."""

_TEXT = re.compile(WALKER_TEXT)


def walker(
    total: int,
    planes: int,
    phasing: int,
    *,
    inclination_deg: float,
    altitude_m: float,
    epoch_utc: datetime,
    star: bool = False,
    first_node_deg: float = 0.0,
) -> list[ElementSet]:
    """Return the element sets of a Walker constellation of circular orbits without drag.

    Args:
        total: number of satellites, T.
        planes: number of planes, P; divides T.
        phasing: F, 0 to P - 1.
        inclination_deg: inclination of all planes, 0 to 180.
        altitude_m: altitude above the equatorial radius, 100 km to 50,000 km. As SGP4's elements are mean
            elements, the actual altitude differs by up to some 10 km.
        epoch_utc: epoch of the elements, with a time zone; satellite 1 of plane 1 is then at its ascending
            node.
        star: spread the planes over 180 degrees of the equator (polar constellations) instead of 360.
        first_node_deg: right ascension of the first plane's ascending node.

    Returns:
        Element sets named like "Walker 53:24/3/1 P01-S01", plane by plane.

    Raises:
        OrbitError: A parameter is out of range.
    """
    if not (1 <= total <= _MOST and 1 <= planes <= total and total % planes == 0 and 0 <= phasing < planes):
        raise OrbitError(
            f"{total}/{planes}/{phasing} is no Walker constellation; expected T/P/F with T up to {_MOST},"
            " P dividing T, and F from 0 to P - 1"
        )
    if not (0 <= inclination_deg <= 180 and 100e3 <= altitude_m <= 50_000e3):
        raise OrbitError(
            f"no Walker constellation at {inclination_deg:g} degrees and {altitude_m / 1e3:g} km;"
            " expected 0 to 180 degrees and 100 to 50000 km"
        )
    if not math.isfinite(first_node_deg) or epoch_utc.tzinfo is None:
        raise OrbitError("expected a finite first node, and an epoch with a time zone")
    epoch_utc = epoch_utc.astimezone(timezone.utc)
    mean_motion = math.sqrt(_EARTH_MU_M3_S2 / (_EARTH_RADIUS_M + altitude_m) ** 3) * 86_400 / math.tau
    each, spread_deg = total // planes, 180.0 if star else 360.0
    digits = [len(str(count)) for count in (planes, each)]
    sets = []
    for plane in range(planes):
        for slot in range(each):
            place = f"P{plane + 1:0{digits[0]}d}-S{slot + 1:0{digits[1]}d}"
            fields = {
                "OBJECT_NAME": f"Walker {inclination_deg:g}:{total}/{planes}/{phasing} {place}",
                "EPOCH": format_utc(epoch_utc),
                "MEAN_MOTION": mean_motion,
                "ECCENTRICITY": 0.0,
                "INCLINATION": inclination_deg,
                "RA_OF_ASC_NODE": (first_node_deg + plane * spread_deg / planes) % 360,
                "ARG_OF_PERICENTER": 0.0,
                "MEAN_ANOMALY": (slot / each + plane * phasing / total) * 360 % 360,
                "BSTAR": 0.0,
            }
            sets.append(ElementSet(str(fields["OBJECT_NAME"]), "", "", epoch_utc, json.dumps(fields)))
    return sets


def parse_walker(text: str, epoch_utc: datetime) -> list[ElementSet]:
    """Return the constellation that a text such as "53:1584/72/39@550" describes.

    Args:
        text: i:T/P/F@altitude, in degrees and km, optionally followed by `star`.
        epoch_utc: epoch of the elements, with a time zone.

    Raises:
        OrbitError: The text has another form, or a parameter is out of range.
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None or match[1].count(".") > 1 or match[5].count(".") > 1 or "." in (match[1], match[5]):
        raise OrbitError(
            f"{text!r} is no Walker constellation; expected i:T/P/F@km, such as 53:1584/72/39@550"
        )
    return walker(
        *(int(part) for part in match.group(2, 3, 4)),
        inclination_deg=float(match[1]),
        altitude_m=float(match[5]) * 1e3,
        epoch_utc=epoch_utc,
        star=match[6] == "star",
    )


def neighbours(text: str, epoch_utc: datetime, *, across: bool = False) -> list[tuple[str, str]]:
    """Return the pairs of names of satellites that fly one behind the other in a plane, which is a ring.

    Args:
        text: as for `parse_walker`.
        epoch_utc: likewise.
        across: also return pairs of neighbouring planes: each satellite with the one of the next plane that
            is ahead of it by the phasing. The planes of a star have a seam, where they pass each other in
            opposite directions: no pair crosses it.

    Raises:
        OrbitError: as `parse_walker`.
    """
    names = [one.name for one in parse_walker(text, epoch_utc)]
    match = _TEXT.fullmatch(text.strip())
    assert match is not None  # noqa: S101  # it was parsed
    planes, phasing, star = int(match[3]), int(match[4]), match[6] == "star"
    each = len(names) // planes
    pairs: dict[frozenset[str], tuple[str, str]] = {}
    for plane in range(planes):
        own = names[plane * each : (plane + 1) * each]
        found = list(zip(own, [*own[1:], own[0]], strict=True))
        if across and (plane + 1 < planes or not star):
            # Once around, the phasing has added up to as many places as it says.
            shift = phasing if plane + 1 == planes else 0
            first = (plane + 1) % planes * each
            found += [(name, names[first + (slot + shift) % each]) for slot, name in enumerate(own)]
        for pair in found:
            if len(key := frozenset(pair)) == 2:
                pairs.setdefault(key, pair)
    return list(pairs.values())
