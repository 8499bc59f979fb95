"""Link budget: the rate of a radio link over a distance.

Es/N0 = EIRP - free-space loss - other losses + G/T - 10 log10(k) - 10 log10(symbol rate) - margin, in dB;
free-space loss = 20 log10(4 pi d f / c) (ITU-R P.525-4, eq. 4). The modem then uses the fastest DVB-S2 MODCOD
whose threshold is below Es/N0. Thresholds and efficiencies are those of ETSI EN 302 307-1 V1.4.1, Table 13
(ideal Es/N0 for quasi-error-free reception, normal FECFRAME, no pilots).

The model leaves out the satellite antenna's pattern (the antenna points at the station), rain and
scintillation (use a constant in the losses, or `traces.radio.weather`), and the few per cent of overhead for
Ethernet frames in DVB-S2 baseband frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from traces.errors import LinkBudgetError

Floats = npt.NDArray[np.float64]

SPEED_OF_LIGHT_M_S = 299_792_458.0
BOLTZMANN_DBW_K_HZ = 10 * math.log10(1.380649e-23)


@dataclass(frozen=True, slots=True)
class Modcod:
    """A modulation with a code rate.

    Args:
        name: the name in the standard, such as "16APSK 5/6".
        bit_per_symbol: spectral efficiency in information bits per symbol.
        es_n0_db: minimum Es/N0 for quasi-error-free reception.
    """

    name: str
    bit_per_symbol: float
    es_n0_db: float


DVB_S2 = (
    Modcod("QPSK 1/4", 0.490243, -2.35),
    Modcod("QPSK 1/3", 0.656448, -1.24),
    Modcod("QPSK 2/5", 0.789412, -0.30),
    Modcod("QPSK 1/2", 0.988858, 1.00),
    Modcod("QPSK 3/5", 1.188304, 2.23),
    Modcod("QPSK 2/3", 1.322253, 3.10),
    Modcod("QPSK 3/4", 1.487473, 4.03),
    Modcod("QPSK 4/5", 1.587196, 4.68),
    Modcod("QPSK 5/6", 1.654663, 5.18),
    Modcod("QPSK 8/9", 1.766451, 6.20),
    Modcod("QPSK 9/10", 1.788612, 6.42),
    Modcod("8PSK 3/5", 1.779991, 5.50),
    Modcod("8PSK 2/3", 1.980636, 6.62),
    Modcod("8PSK 3/4", 2.228124, 7.91),
    Modcod("8PSK 5/6", 2.478562, 9.35),
    Modcod("8PSK 8/9", 2.646012, 10.69),
    Modcod("8PSK 9/10", 2.679207, 10.98),
    Modcod("16APSK 2/3", 2.637201, 8.97),
    Modcod("16APSK 3/4", 2.966728, 10.21),
    Modcod("16APSK 4/5", 3.165623, 11.03),
    Modcod("16APSK 5/6", 3.300184, 11.61),
    Modcod("16APSK 8/9", 3.523143, 12.89),
    Modcod("16APSK 9/10", 3.567342, 13.13),
    Modcod("32APSK 3/4", 3.703295, 12.73),
    Modcod("32APSK 4/5", 3.951571, 13.64),
    Modcod("32APSK 5/6", 4.119540, 14.28),
    Modcod("32APSK 8/9", 4.397854, 15.69),
    Modcod("32APSK 9/10", 4.453027, 16.05),
)
"""All MODCODs of EN 302 307-1, Table 13."""


def undominated(modcods: tuple[Modcod, ...]) -> tuple[Modcod, ...]:
    """Return the MODCODs without those that need more Es/N0 than a faster one, sorted by rate."""
    kept: list[Modcod] = []
    for modcod in sorted(modcods, key=lambda modcod: (-modcod.bit_per_symbol, modcod.es_n0_db)):
        if not kept or modcod.es_n0_db < kept[-1].es_n0_db:
            kept.append(modcod)
    return tuple(reversed(kept))


def dvb_s2(slowest: str = "QPSK 1/4", fastest: str = "32APSK 9/10") -> tuple[Modcod, ...]:
    """Return the undominated DVB-S2 MODCODs from `slowest` to `fastest`, by name.

    Raises:
        LinkBudgetError: A MODCOD is not in the table or is dominated, or the two are in the wrong order.
    """
    usable = undominated(DVB_S2)
    names = [modcod.name for modcod in usable]
    for name in (slowest, fastest):
        if name not in names:
            raise LinkBudgetError(f"MODCOD {name!r} cannot be chosen; expected one of {', '.join(names)}")
    chosen = usable[names.index(slowest) : names.index(fastest) + 1]
    if not chosen:
        raise LinkBudgetError(f"there is no MODCOD from {slowest} to {fastest}; swap them")
    return chosen


@dataclass(frozen=True)
class RadioLink:
    """The radio of one direction of a link, from transmitter to modem.

    Args:
        carrier_hz: carrier frequency.
        eirp_dbw: equivalent isotropically radiated power, including antenna gain.
        g_over_t_db_k: gain over noise temperature of the receiver, dB/K.
        symbol_rate_hz: symbols per second.
        losses_db: all losses except free space: pointing, polarisation, atmosphere, radome.
        margin_db: reserve for fading and for the modem's distance from the ideal.
        roll_off: roll-off of the pulse shape; the link occupies symbol rate * (1 + roll-off).
        modcods: MODCODs that the modem may use; dominated ones are dropped.
        hysteresis_db: excess of Es/N0 over a threshold before the modem steps up to it; it steps down at
            once.
        rate_cap_bit_s: upper limit of the rate; None for the rate that the radio achieves.
        weather_percent: `traces.make_trace` subtracts the atmospheric attenuation that is exceeded for this
            percentage of an average year (`traces.radio.weather`, needs itur); None for a clear sky.

    Raises:
        LinkBudgetError: A parameter is out of range.
    """

    carrier_hz: float
    eirp_dbw: float
    g_over_t_db_k: float
    symbol_rate_hz: float
    losses_db: float = 0.0
    margin_db: float = 0.0
    roll_off: float = 0.2
    modcods: tuple[Modcod, ...] = DVB_S2
    hysteresis_db: float = 0.0
    rate_cap_bit_s: float | None = None
    weather_percent: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "modcods", undominated(self.modcods))
        if not self.modcods:
            raise LinkBudgetError("modcods is empty; expected at least one")
        for name in ("carrier_hz", "symbol_rate_hz", "rate_cap_bit_s", "weather_percent"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise LinkBudgetError(f"{name} is {value}; expected a number above 0")
        for name in ("losses_db", "roll_off", "hysteresis_db"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise LinkBudgetError(f"{name} is {value}; expected a number, 0 or above")
        for name in ("eirp_dbw", "g_over_t_db_k", "margin_db"):
            if not math.isfinite(getattr(self, name)):
                raise LinkBudgetError(f"{name} is {getattr(self, name)}; expected a finite number of dB")

    @property
    def bandwidth_hz(self) -> float:
        """The occupied bandwidth."""
        return self.symbol_rate_hz * (1 + self.roll_off)

    def capped(self, rate_bit_s: float | None) -> RadioLink:
        """Return this radio with its rate limited to `rate_bit_s` (None: no limit)."""
        return replace(self, rate_cap_bit_s=rate_bit_s)

    def in_weather(self, exceeded_percent: float | None) -> RadioLink:
        """Return this radio in weather that is exceeded for a percentage of the year (None: a clear sky)."""
        return replace(self, weather_percent=exceeded_percent)

    def es_n0_db(self, slant_range_m: npt.ArrayLike, weather_db: npt.ArrayLike = 0.0) -> Floats:
        """Return Es/N0 for each distance, minus margin and `weather_db` (one value, or one per distance)."""
        c_n0_db_hz = (
            self.eirp_dbw
            - free_space_loss_db(slant_range_m, self.carrier_hz)
            - self.losses_db
            + self.g_over_t_db_k
            - BOLTZMANN_DBW_K_HZ
        )
        es_n0_db = c_n0_db_hz - 10 * math.log10(self.symbol_rate_hz) - self.margin_db
        return np.asarray(es_n0_db - np.asarray(weather_db, dtype=np.float64))

    def modcod_indices(
        self, slant_range_m: npt.ArrayLike, weather_db: npt.ArrayLike = 0.0
    ) -> npt.NDArray[np.intp]:
        """Return the index into `modcods` for each distance, -1 where the link does not close.

        With hysteresis, the distances must be those of one contact, in order of time.
        """
        es_n0_db = np.atleast_1d(self.es_n0_db(slant_range_m, weather_db))
        thresholds_db = np.array([modcod.es_n0_db for modcod in self.modcods])
        best = np.searchsorted(thresholds_db, es_n0_db, side="right") - 1
        if self.hysteresis_db == 0:
            return best
        safe = np.searchsorted(thresholds_db + self.hysteresis_db, es_n0_db, side="right") - 1
        now = int(best[0]) if best.size else -1
        for index, (at_most, at_least) in enumerate(zip(best.tolist(), safe.tolist(), strict=True)):
            now = min(max(now, at_least), at_most)
            best[index] = now
        return best

    def rate_bit_s(self, slant_range_m: npt.ArrayLike, weather_db: npt.ArrayLike = 0.0) -> Floats:
        """Return the information rate for each distance in whole bit/s, 0 where the link does not close."""
        carried = [math.floor(modcod.bit_per_symbol * self.symbol_rate_hz) for modcod in self.modcods]
        rates = np.array([*carried, 0.0])[
            self.modcod_indices(slant_range_m, weather_db)
        ]  # index -1 selects the 0 at the end
        return rates if self.rate_cap_bit_s is None else np.minimum(rates, self.rate_cap_bit_s)

    def summary(self) -> str:
        """Return the parameters on one line, for a trace's header."""
        weather = (
            ""
            if self.weather_percent is None
            else f", attenuation exceeded {self.weather_percent:g} % of a year (ITU-R P.618)"
        )
        cap = "" if self.rate_cap_bit_s is None else f", capped at {self.rate_cap_bit_s:g} bit/s"
        return (
            f"{self.carrier_hz / 1e9:g} GHz, EIRP {self.eirp_dbw:g} dBW, G/T {self.g_over_t_db_k:g} dB/K,"
            f" {self.symbol_rate_hz / 1e6:g} Msymbol/s (roll-off {self.roll_off:g}),"
            f" losses {self.losses_db:g} dB, margin {self.margin_db:g} dB,"
            f" {self.modcods[0].name} to {self.modcods[-1].name},"
            f" hysteresis {self.hysteresis_db:g} dB{cap}{weather}"
        )


def free_space_loss_db(slant_range_m: npt.ArrayLike, carrier_hz: float) -> Floats:
    """Return the free-space basic transmission loss between isotropic antennas (ITU-R P.525-4, eq. 4)."""
    distance_m = np.asarray(slant_range_m, dtype=np.float64)
    return np.asarray(20 * np.log10(4 * math.pi * distance_m * carrier_hz / SPEED_OF_LIGHT_M_S))


def one_way_delay_s(slant_range_m: npt.ArrayLike) -> Floats:
    """Return the propagation delay in vacuum; the atmosphere adds at most some 10 ns."""
    return np.asarray(slant_range_m, dtype=np.float64) / SPEED_OF_LIGHT_M_S


DOVE_X_BAND = RadioLink(
    carrier_hz=8.2e9,
    eirp_dbw=7.0,
    g_over_t_db_k=26.0,
    symbol_rate_hz=66.67e6,
    losses_db=2.0,
    margin_db=1.0,
    modcods=dvb_s2("QPSK 1/4", "16APSK 5/6"),
)
"""High-speed downlink of a Planet Dove.

Published (Devaraj et al., "Dove High Speed Downlink System", SSC17-VII-02): X-band, DVB-S2, dishes of 4.5
to 7.6 m, 220 Mbit/s peak and 160 Mbit/s average rate, 12 to 15 GB in a pass of 7 to 10 minutes. The rest
is assumed: 66.67 Msymbol/s with 16APSK 5/6 as the fastest MODCOD gives the peak rate; EIRP, G/T and losses
are plausible for a cubesat and such a dish, and chosen so that a pass almost overhead at 500 km averages
160 Mbit/s above 5 degrees."""

DOVE_S_BAND_UPLINK = RadioLink(
    carrier_hz=2.056e9,
    eirp_dbw=35.0,
    g_over_t_db_k=-28.0,
    symbol_rate_hz=252_817.0,
    losses_db=3.0,
    margin_db=3.0,
    modcods=dvb_s2("QPSK 1/2", "QPSK 1/2"),
)
"""S-band uplink of 250 kbit/s at every elevation.

All parameters are assumptions, typical of S-band command links of cubesats; the actual waveform is not
published."""


CUBESAT_S_BAND = RadioLink(
    carrier_hz=2.215e9,
    eirp_dbw=0.0,
    g_over_t_db_k=5.0,
    symbol_rate_hz=256_000.0,
    roll_off=1.0,
    modcods=(Modcod("BPSK uncoded", 1.0, 9.6),),
)
"""S-band downlink of a first-generation cubesat, 256 kbit/s.

From problem 3 of "CubeSat Communication" (DTU Satellite Systems and Design Course, Danish Space Research
Institute, 2001): 1 W through an antenna of 0 dB, 2215 MHz, 256 kbit/s, and G/T 5 dB/K as at the Oersted
station. Coherent BPSK needs 9.6 dB for a bit error rate of 1e-5. As in the problem, there are no losses
and no margin; from 600 km the link closes down to the horizon."""

CUBESAT_UHF_DOWNLINK = RadioLink(
    carrier_hz=437e6,
    eirp_dbw=1.5,
    g_over_t_db_k=-13.7,
    symbol_rate_hz=9600.0,
    losses_db=6.0,
    margin_db=3.0,
    roll_off=1.6,
    modcods=(Modcod("GMSK 9600", 1.0, 13.9),),
)
"""Amateur-band downlink of a cubesat, 9600 bit/s.

From the link budget of Western University's CubeSat project (its public wiki, "Space Communications", June
2022): 1 W, antenna of 1.5 dBi, Yagi of 13.3 dBi at the station, Eb/N0 of 13.9 dB for a bit error rate of
1e-5 in 25 kHz. Assumed: a system noise temperature of 500 K (hence G/T -13.7 dB/K), 6 dB for polarisation
and pointing, and the margin."""

CUBESAT_UHF_UPLINK = replace(CUBESAT_UHF_DOWNLINK, eirp_dbw=12.5, g_over_t_db_k=-24.1)
"""Uplink of the same channel: EIRP 12.5 dBW, G/T of the satellite -24.1 dB/K (same source)."""

STARLINK_LIKE_DOWNLINK = RadioLink(
    carrier_hz=11.7e9,
    eirp_dbw=32.0,
    g_over_t_db_k=9.0,
    symbol_rate_hz=200e6,
    losses_db=1.5,
    margin_db=2.0,
    roll_off=0.2,
    hysteresis_db=0.5,
    rate_cap_bit_s=200e6,
)
"""A 240 MHz channel of a Ku-band broadband satellite at 550 km to a user's flat antenna, above 25 degrees.

Published: the channel width (Humphreys et al., "Signal Structure of the Starlink Ku-Band Downlink", IEEE
Trans. Aerospace and Electronic Systems 59, 2023), altitude and minimum elevation (FCC,
SAT-MOD-20200417-00037). All other parameters are assumptions: DVB-S2 replaces the actual OFDM, EIRP and
G/T give an Es/N0 from 8 dB at 25 degrees to 14 dB overhead, and the cap is one user's share of the
channel, in the range that users measure."""

STARLINK_LIKE_UPLINK = RadioLink(
    carrier_hz=14.25e9,
    eirp_dbw=34.0,
    g_over_t_db_k=2.0,
    symbol_rate_hz=50e6,
    losses_db=1.5,
    margin_db=2.0,
    roll_off=0.2,
    hysteresis_db=0.5,
    rate_cap_bit_s=20e6,
)
"""Uplink of the same terminal: a shared channel of 60 MHz at 14.25 GHz. All but the band are assumptions."""


@dataclass(frozen=True)
class Radio:
    """The radios of both directions of a link between a satellite and a station.

    Args:
        downlink: radio from satellite to ground.
        uplink: radio from ground to satellite.
    """

    downlink: RadioLink
    uplink: RadioLink


PRESETS = {
    "dove": Radio(DOVE_X_BAND, DOVE_S_BAND_UPLINK),
    "cubesat-s-band": Radio(CUBESAT_S_BAND, CUBESAT_UHF_UPLINK),
    "cubesat-uhf": Radio(CUBESAT_UHF_DOWNLINK, CUBESAT_UHF_UPLINK),
    "starlink-like": Radio(STARLINK_LIKE_DOWNLINK, STARLINK_LIKE_UPLINK),
}
"""Published and assumed radios by name."""


def preset(name: str) -> Radio:
    """Return the radio preset with a name.

    Raises:
        LinkBudgetError: There is no such preset; the message lists all presets.
    """
    if name not in PRESETS:
        raise LinkBudgetError(f"no radio preset {name!r}; expected one of {', '.join(PRESETS)}")
    return PRESETS[name]
