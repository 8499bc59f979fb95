"""Power (Raspberry Pi 5 and related models only), temperature and throttling, read by `vcgencmd`.

Raspberry Pi documentation, "vcgencmd"; and "Extra PMIC features on Raspberry Pi 4, Raspberry Pi 5 and Compute
Module 4" (RP-004340-WP) for pmic_read_adc.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

from nodes.sensors.reading import PowerReading, SensorError, Temperature

ANSWER_WITHIN_S = 2.0
_RAIL = re.compile(r"^\s*(\w+)_([AV])\s+\w+\(\d+\)=([\d.]+)[AV]\s*$", re.MULTILINE)
_NOW = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


class PmicAdc:
    """Power of a Pi 5, measured by its power management chip at the chip's outputs.

    Raises:
        SensorError: this is not a Pi, or its chip measures no currents.
    """

    source = "vcgencmd pmic_read_adc"
    scope = "the PMIC's rails; without loads on 5 V (USB, HATs, fan) and the PMIC's own losses"

    def __init__(self) -> None:
        self.read()

    def read(self) -> PowerReading:
        """Measure now; takes about 10 ms, since it starts a program."""
        rails = rails_w(vcgencmd("pmic_read_adc"))
        if not rails:
            raise SensorError(
                "vcgencmd pmic_read_adc lists no rail with both current and voltage: is this a Pi 5?"
            )
        return PowerReading(sum(rails.values()), self.source, self.scope, rails)

    def close(self) -> None:
        """Do nothing: no resource is held."""


@dataclass(frozen=True, slots=True)
class Throttling:
    """Reasons for which the board is slowed down `now`, or was at any time `since_boot`."""

    now: tuple[str, ...]
    since_boot: tuple[str, ...]


def rails_w(text: str) -> dict[str, float]:
    """Return the power of each rail with both a current and a voltage, in watts.

    The input (EXT5V) and the clock's battery have no current and are left out. The numbers in brackets are
    channels of the ADC; current and voltage of a rail have different ones, so the name alone joins them.
    """
    values: dict[str, dict[str, float]] = {}
    for rail, unit, value in _RAIL.findall(text):
        values.setdefault(rail, {})[unit] = float(value)
    return {rail: both["A"] * both["V"] for rail, both in values.items() if len(both) == 2}


def throttling() -> Throttling:
    """Return the output of `vcgencmd get_throttled`, decoded.

    Raises:
        SensorError: vcgencmd cannot be used, or prints something else.
    """
    text = vcgencmd("get_throttled")
    name, _, value = text.strip().partition("=")
    try:
        bits = int(value, 16)
    except ValueError:
        raise SensorError(f"vcgencmd get_throttled says {text.strip()!r}") from None
    if name != "throttled":
        raise SensorError(f"vcgencmd get_throttled says {text.strip()!r}")
    return Throttling(
        now=tuple(words for bit, words in _NOW.items() if bits >> bit & 1),
        since_boot=tuple(words for bit, words in _NOW.items() if bits >> (bit + 16) & 1),
    )


def temperature() -> Temperature:
    """Return the processor's temperature, from `vcgencmd measure_temp`.

    Raises:
        SensorError: vcgencmd cannot be used, or prints something else.
    """
    text = vcgencmd("measure_temp").strip()
    found = re.fullmatch(r"temp=([\d.]+)'C", text)
    if found is None:
        raise SensorError(f"vcgencmd measure_temp says {text!r}")
    return Temperature("SoC", float(found[1]), "vcgencmd measure_temp")


def vcgencmd(command: str) -> str:
    """Return the output of `vcgencmd COMMAND`.

    Raises:
        SensorError: vcgencmd is not installed or fails.
    """
    program = shutil.which("vcgencmd")
    if program is None:
        raise SensorError("vcgencmd is not installed: not a Raspberry Pi")
    try:
        done = subprocess.run(
            [program, command], capture_output=True, text=True, check=False, timeout=ANSWER_WITHIN_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SensorError(f"vcgencmd {command}: {error}") from error
    # For a command unknown to the firmware it prints "error=1 ..." and exits with 0.
    if done.returncode != 0 or done.stdout.startswith("error="):
        printed = (done.stdout + done.stderr).strip().splitlines() or ["no message"]
        raise SensorError(f"vcgencmd {command}: {printed[-1]}")
    return done.stdout
