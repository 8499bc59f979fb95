"""Power systems by name. Each value has its source in `sources`, or is marked there as an estimate."""

from __future__ import annotations

import difflib

from nodes.contract.power.parameters import Power, SolarPanel

_PANEL_EFFICIENCY = (
    "2.3 W of 60.4 cm2 in sunlight (GomSpace NanoPower P110, data sheet 1014192, 2018) is 0.28; estimate of"
    " 10 % of losses in tracking and conversion"
)
_RHONE = "RHONE (USENIX ATC 2025): telemetry of an X-band radio, 4 W idle, 14 W active"
_HEAT_CAPACITY = "estimate: mass times 900 J/(kg K), the specific heat of aluminium"
_CONDUCTANCE = "estimate: 4 e s A T^3, radiation of the whole surface at 293 K with emissivity 0.85"
_SURROUNDINGS = (
    "estimate: balance of that radiation, made linear at 293 K, with sunlight on a quarter of the surface"
    " (absorptance 0.6), albedo 0.3 and 237 W/m2 from the Earth"
)
_COMMON = {
    "first_charge": "estimate: a day begins with a full battery",
    "charge_efficiency": "estimate: a lithium-ion cell and one converter",
    "compute_floor": "RHONE (USENIX ATC 2025): compute is cut below 60 % of charge",
    "radio_floor": "estimate: the radio is needed longer than the computer",
    "resume_margin": "estimate: no switching within seconds",
    "radio_off_w": "estimate: switched off outside of contacts",
    "heat_capacity_j_k": _HEAT_CAPACITY,
    "heat_conductance_w_k": _CONDUCTANCE,
    "sunlit_c": _SURROUNDINGS,
    "eclipse_c": _SURROUNDINGS,
    "first_c": "estimate",
    "throttle_c": "estimate: a module that slows down near 90 degrees, 30 above the structure, and a margin",
    "throttled_speed": "estimate",
    "compute_off_c": "estimate: 10 degrees above throttle_c",
    "cooling_margin_c": "estimate: no switching within seconds",
}
_EARTHSIGHT = "EarthSight's simulator"

POWER_PRESETS: dict[str, Power] = {
    "3u": Power(
        name="3u",
        panels=(
            SolarPanel(area_m2=0.0211, normal=(0, 0, -1)),
            SolarPanel(area_m2=0.0211, normal=(0, 1, 0)),
            SolarPanel(area_m2=0.0211, normal=(0, -1, 0)),
        ),
        panel_efficiency=0.25,
        battery_wh=43,
        compute_floor=0.6,
        bus_w=2.6,
        camera_j=9,
        radio_on_w=4,
        radio_transmit_w=14,
        compute_idle_w=5,
        compute_w=30,
        heat_capacity_j_k=3600,
        heat_conductance_w_k=0.68,
        sunlit_c=10,
        eclipse_c=-39,
        sources=_COMMON
        | {
            "panels": "estimate: 7 cells of 30 cm2 on the top and on two long sides; 4 to 5 W on average, as"
            f" {_EARTHSIGHT} (4 W)",
            "panel_efficiency": _PANEL_EFFICIENCY,
            "battery_wh": "GomSpace NanoPower BP4, data sheet 1013024 3.1: 43 Wh",
            "bus_w": f"{_EARTHSIGHT}: attitude control 2.1 W; estimate of 0.5 W for the rest",
            "camera_j": f"{_EARTHSIGHT}: camera 4.5 W; estimate of 2 s for a capture",
            "radio_on_w": _RHONE,
            "radio_transmit_w": _RHONE,
            "compute_idle_w": "estimate: a Jetson Orin without work",
            "compute_w": f"{_EARTHSIGHT}: Jetson, 30 W",
        },
    ),
    "6u": Power(
        name="6u",
        panels=(SolarPanel(area_m2=0.145, normal=(0, 0, -1)),),
        panel_efficiency=0.25,
        battery_wh=86,
        compute_floor=0.6,
        bus_w=5,
        camera_j=9,
        radio_on_w=4,
        radio_transmit_w=14,
        compute_idle_w=6.2,
        compute_w=20,
        heat_capacity_j_k=7200,
        heat_conductance_w_k=1.07,
        sunlit_c=10,
        eclipse_c=-39,
        sources=_COMMON
        | {
            "panels": "estimate: three faces of 20 x 30 cm, two of them deployed, 16 cells of 30 cm2 each,"
            " fixed to the top; 49 W at most",
            "panel_efficiency": _PANEL_EFFICIENCY,
            "battery_wh": "two GomSpace NanoPower BP4, data sheet 1013024 3.1: 43 Wh each",
            "bus_w": "estimate: twice a 3U's",
            "camera_j": f"{_EARTHSIGHT}: camera 4.5 W; estimate of 2 s for a capture",
            "radio_on_w": _RHONE,
            "radio_transmit_w": _RHONE,
            "compute_idle_w": "measured by tegrastats on a Jetson Orin Nano: profile orin-nano-2b-w4a16",
            "compute_w": "NVIDIA Jetson Linux Developer Guide: power mode of 20 W of the Orin NX",
        },
    ),
    "dove": Power(
        name="dove",
        panels=(SolarPanel(area_m2=0.12, normal=None),),
        panel_efficiency=0.25,
        battery_wh=80,
        compute_floor=0.6,
        bus_w=6,
        camera_j=9,
        radio_on_w=4,
        radio_transmit_w=14,
        compute_idle_w=5,
        compute_w=15,
        heat_capacity_j_k=4500,
        heat_conductance_w_k=0.9,
        sunlit_c=10,
        eclipse_c=-39,
        sources=_COMMON
        | {
            "panels": "estimate from pictures of a Dove: two wings of three segments that face the sun;"
            " Planet publishes no area",
            "panel_efficiency": _PANEL_EFFICIENCY,
            "battery_wh": "estimate: eight 18650 cells of 10 Wh; Planet publishes no capacity",
            "bus_w": "estimate: a 3U's, and a larger telescope's heaters",
            "camera_j": "estimate: as a 3U's",
            "radio_on_w": _RHONE,
            "radio_transmit_w": _RHONE,
            "compute_idle_w": "estimate: a Jetson Orin without work",
            "compute_w": "NVIDIA Jetson Linux Developer Guide: power mode of 15 W of the Orin NX",
        },
    ),
}


def power_preset(name: str) -> Power:
    """Return the power system called `name`, in upper or lower case.

    Raises:
        ValueError: there is none.
    """
    if name.lower() in POWER_PRESETS:
        return POWER_PRESETS[name.lower()]
    near = difflib.get_close_matches(name.lower(), POWER_PRESETS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"no power system is called {name!r}; known: {', '.join(POWER_PRESETS)}{hint}")
