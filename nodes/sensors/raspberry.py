"""Power (Raspberry Pi 5 and related models only), temperature and throttling, read by `vcgencmd`.

Sources: Raspberry Pi documentation, "vcgencmd"; and, for pmic_read_adc, "Extra PMIC features on Raspberry Pi
4, Raspberry Pi 5 and Compute Module 4" (RP-004340-WP).
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
    """Power of a Raspberry Pi 5, measured at the outputs of its power management chip (PMIC).

    Raises:
        SensorError: this is not a Raspberry Pi, or its PMIC measures no currents.
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
                "vcgencmd pmic_read_adc lists no rail with both current and voltage: not a Raspberry Pi 5"
            )
        return PowerReading(sum(rails.values()), self.source, self.scope, rails)

    def close(self) -> None:
        """Do nothing: no resource is held."""


@dataclass(frozen=True, slots=True)
class Throttling:
    """Reasons for throttling `now`, and at any time `since_boot`."""

    now: tuple[str, ...]
    since_boot: tuple[str, ...]


def rails_w(text: str) -> dict[str, float]:
    """Return the power of each rail with both a current and a voltage, in watts.

    The input (EXT5V) and the clock's battery have no current and are left out. The numbers in brackets are
    ADC channels, which differ for current and voltage of a rail; therefore only the name joins them.
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
        raise SensorError(f"vcgencmd get_throttled printed {text.strip()!r}") from None
    if name != "throttled":
        raise SensorError(f"vcgencmd get_throttled printed {text.strip()!r}")
    return Throttling(
        now=tuple(reason for bit, reason in _NOW.items() if bits >> bit & 1),
        since_boot=tuple(reason for bit, reason in _NOW.items() if bits >> (bit + 16) & 1),
    )


def temperature() -> Temperature:
    """Return the processor's temperature, from `vcgencmd measure_temp`.

    Raises:
        SensorError: vcgencmd cannot be used, or prints something else.
    """
    text = vcgencmd("measure_temp").strip()
    match = re.fullmatch(r"temp=([\d.]+)'C", text)
    if match is None:
        raise SensorError(f"vcgencmd measure_temp printed {text!r}")
    return Temperature("SoC", float(match[1]), "vcgencmd measure_temp")


def vcgencmd(command: str) -> str:
    """Return the output of `vcgencmd COMMAND`.

    Raises:
        SensorError: vcgencmd is not installed or fails.
    """
    program = shutil.which("vcgencmd")
    if program is None:
        raise SensorError("vcgencmd is not installed: this is not a Raspberry Pi")
    try:
        process = subprocess.run(
            [program, command], capture_output=True, text=True, check=False, timeout=ANSWER_WITHIN_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SensorError(f"vcgencmd {command}: {error}") from error
    # If the firmware does not know the command, vcgencmd prints "error=1 ..." and exits with 0.
    if process.returncode != 0 or process.stdout.startswith("error="):
        printed = (process.stdout + process.stderr).strip().splitlines() or ["no message"]
        raise SensorError(f"vcgencmd {command}: {printed[-1]}")
    return process.stdout
