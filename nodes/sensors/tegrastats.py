"""Power from `tegrastats`, for a Jetson whose kernel has no INA3221 under hwmon.

NVIDIA's Jetson Linux Developer Guide, "tegrastats utility", documents the lines. Rails have the format
`NAME now/average` in mW, with the unit since JetPack 5.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time

from nodes.sensors.jetson import module_power_w
from nodes.sensors.reading import PowerReading, SensorError, Temperature

INTERVAL_MS = 100
FIRST_WITHIN_S = 3.0
STALE_S = 2.0
_RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/\d+(?:mW)?(?!\S)")  # not RAM and SWAP: MB
_PLACE = re.compile(r"(?<!\S)(\w+)@(-?\d+(?:\.\d+)?)C(?!\S)")


def rails_w(line: str) -> dict[str, float]:
    """Return the power of each rail in a line, in watts; rails that the board does not use are left out."""
    return {name: int(milliwatts) / 1000 for name, milliwatts in _RAIL.findall(line) if name != "NC"}


def temperatures(line: str) -> list[Temperature]:
    """Return the temperatures in a line; a part that is off reads -256 and is left out."""
    values_c = [(place, float(value)) for place, value in _PLACE.findall(line)]
    return [Temperature(place, value_c, "tegrastats") for place, value_c in values_c if value_c > -200]


class Tegrastats:
    """A running tegrastats, whose latest line is read.

    Raises:
        SensorError: tegrastats is not installed, prints nothing, or lists no rail of the whole module.
    """

    source = f"tegrastats, every {INTERVAL_MS} ms"

    def __init__(self) -> None:
        program = shutil.which("tegrastats")
        if program is None:
            raise SensorError("tegrastats is not installed")
        try:
            self._process = subprocess.Popen(
                [program, "--interval", str(INTERVAL_MS)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
        except OSError as error:
            raise SensorError(f"tegrastats cannot be started: {error}") from error
        self._line = ""
        self._line_s = 0.0
        self._first = threading.Event()
        threading.Thread(target=self._follow, name="tegrastats", daemon=True).start()
        self._first.wait(FIRST_WITHIN_S)
        try:
            self.scope = self.read().scope
        except SensorError:
            self.close()
            raise

    def read(self) -> PowerReading:
        """Return the power in the latest line."""
        if time.monotonic() - self._line_s > STALE_S or not self._line:
            raise SensorError(f"tegrastats printed nothing for {STALE_S:g} s")
        rails = rails_w(self._line)
        power_w, scope = module_power_w(rails)
        return PowerReading(power_w, self.source, scope, rails)

    def close(self) -> None:
        """Stop tegrastats."""
        self._process.terminate()
        self._process.wait()

    def _follow(self) -> None:
        if self._process.stdout is not None:
            with self._process.stdout as lines:
                for line in lines:
                    self._line, self._line_s = line, time.monotonic()
                    self._first.set()
        self._first.set()
