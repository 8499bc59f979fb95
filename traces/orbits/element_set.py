"""The element set of a satellite, apart from the formats (TLE, OMM) that it is read from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from sgp4.api import WGS72, Satrec
from sgp4.conveniences import sat_epoch_datetime

from traces.utc import format_utc, parse_utc

_ANGLES = ("INCLINATION", "RA_OF_ASC_NODE", "ARG_OF_PERICENTER", "MEAN_ANOMALY")
_EPOCH_0 = datetime(1949, 12, 31, tzinfo=timezone.utc)
_REV_PER_DAY = 1440 / math.tau  # of one radian per minute


@dataclass(frozen=True)
class ElementSet:
    """The mean orbital elements of a satellite, as SGP4 uses them.

    Args:
        name: the satellite's name, or its catalogue number if the file has no names.
        line1: first line of the TLE, 69 columns; empty if the elements are not from a TLE.
        line2: second line of the TLE, 69 columns.
        epoch_utc: time for which the elements were determined.
        omm: the elements as a JSON object of an OMM, if they are not from a TLE.
    """

    name: str
    line1: str
    line2: str
    epoch_utc: datetime
    omm: str = ""

    @property
    def catalogue_number(self) -> str:
        """The satellite's catalogue number as text, such as "41617" or "A0001"; empty if unknown."""
        if not self.omm:
            return self.line1[2:7].strip()
        return str(json.loads(self.omm).get("NORAD_CAT_ID", ""))

    def model(self) -> Satrec:
        """Return the SGP4 model."""
        return model_of(json.loads(self.omm)) if self.omm else Satrec.twoline2rv(self.line1, self.line2)

    def text_lines(self) -> tuple[str, ...]:
        """Return the one or two lines of text that `traces.read_elements` reads back."""
        return (self.omm,) if self.omm else (self.line1, self.line2)


def model_of(fields: Mapping[str, Any]) -> Satrec:
    """Return the SGP4 model of an OMM's fields, which have been checked."""
    model = Satrec()
    epoch = (parse_utc(fields["EPOCH"]) - _EPOCH_0).total_seconds() / 86_400
    angle = {name: math.radians(fields[name]) for name in _ANGLES}
    model.sgp4init(
        WGS72,
        "i",
        0,  # the catalogue number: SGP4 does not use it, and nine digits would not fit
        epoch,
        fields["BSTAR"],
        0.0,  # files have the derivatives of the mean motion, but SGP4 does not use them
        0.0,
        fields["ECCENTRICITY"],
        angle["ARG_OF_PERICENTER"] % math.tau,
        angle["INCLINATION"],
        angle["MEAN_ANOMALY"] % math.tau,
        fields["MEAN_MOTION"] / _REV_PER_DAY,
        angle["RA_OF_ASC_NODE"] % math.tau,
    )
    return model


def fields_of_model(model: Satrec) -> dict[str, Any]:
    """Return the OMM fields from which `model_of` makes the same model (the epoch to 1 us)."""
    return {
        "NORAD_CAT_ID": model.satnum_str.strip(),
        "EPOCH": format_utc(sat_epoch_datetime(model)),
        "MEAN_MOTION": model.no_kozai * _REV_PER_DAY,
        "ECCENTRICITY": model.ecco,
        "INCLINATION": math.degrees(model.inclo),
        "RA_OF_ASC_NODE": math.degrees(model.nodeo),
        "ARG_OF_PERICENTER": math.degrees(model.argpo),
        "MEAN_ANOMALY": math.degrees(model.mo),
        "BSTAR": model.bstar,
    }
