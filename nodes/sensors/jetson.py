"""Power rails of a Jetson that add up to the whole module; the other rails are part of them.

Source: NVIDIA's Jetson Linux Developer Guide, "Platform Power and Performance", "Electrical management". Orin
NX, Orin Nano, Xavier NX and TX2 measure their whole input as VDD_IN. AGX Orin has no such channel; its three
inputs are VDD_GPU_SOC, VDD_CPU_CV and VIN_SYS_5V0 (VDDQ_VDD2_1V8AO is behind the last). The six channels of
AGX Xavier are disjoint. The input of the first Nano is POM_5V_IN.
"""

from __future__ import annotations

from collections.abc import Mapping

from nodes.sensors.reading import SensorError

_WHOLES = (
    ("VDD_IN",),
    ("POM_5V_IN",),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)


def module_power_w(rails_w: Mapping[str, float]) -> tuple[float, str]:
    """Return (power of the whole module in watts, its scope).

    Raises:
        SensorError: the rails do not add up to a whole module.
    """
    for names in _WHOLES:
        if all(name in rails_w for name in names):
            scope = f"Jetson module, {' + '.join(names)}; without the carrier board's own loads"
            return sum(rails_w[name] for name in names), scope
    known = ", ".join(sorted(rails_w)) or "none"
    raise SensorError(f"no known set of rails covers the whole module; rails: {known}")
