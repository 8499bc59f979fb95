"""Power systems as scenarios and configurations describe them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from nodes.contract.power.parameters import Power
from nodes.contract.power.presets import POWER_PRESETS, power_preset
from nodes.contract.power.sunlight import Sunlight, SunRow

NOT_OF_THE_SATELLITE = {"name", "sources", "report_every_s"}


@pytest.mark.parametrize("name", POWER_PRESETS)
def test_each_value_of_a_preset_has_a_source_or_is_called_an_estimate(name: str) -> None:
    preset = power_preset(name.upper())
    assert set(Power.model_fields) - NOT_OF_THE_SATELLITE == set(preset.sources)
    assert all(len(source) >= len("estimate") for source in preset.sources.values())
    assert preset.name == name


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no power system is called '6v'; known: 3u, 6u, dove"):
        power_preset("6v")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"compute_floor": 0.97}, "never resumes"),
        ({"throttle_c": 70}, "throttle_c is not below compute_off_c"),
        ({"panels": [{"area_m2": 0.1, "normal": [0, 0, 0]}]}, "no direction"),
        ({"panels": []}, "at least 1 item"),
        ({"batery_wh": 5}, "not permitted"),
    ],
)
def test_values_that_do_not_fit_are_refused(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Power.model_validate(power_preset("6u").model_dump() | changes)


def test_sunlight_has_its_rows_in_order_and_tells_the_energy_between_two_times() -> None:
    rows = [SunRow(time_s=t, input_w=w, sunlit=w > 0) for t, w in ((0, 0), (100, 30), (200, 10))]
    assert Sunlight(rows=rows).energy_j(50, 220) == 30 * 100 + 10 * 20
    with pytest.raises(ValidationError, match="not in order"):
        Sunlight(rows=[rows[0], rows[2], rows[1]])
    with pytest.raises(ValidationError, match="not in order"):
        Sunlight(rows=rows[1:])
