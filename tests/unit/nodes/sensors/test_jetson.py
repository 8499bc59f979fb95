"""Power of a Jetson: from hwmon, otherwise from tegrastats."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.sensors import tegrastats
from nodes.sensors.hwmon import Ina3221, KernelIna2xx, temperatures
from nodes.sensors.reading import SensorError
from nodes.sensors.search import find_power_sensor
from nodes.sensors.tegrastats import Tegrastats
from tests.support import recorded_sensors as recorded
from tests.support.waiting import wait_for


def test_the_inputs_power_is_taken_and_not_the_sum_of_nested_rails(tmp_path: Path) -> None:
    recorded.hwmon(tmp_path, 0, "nvme", "0-0000")
    recorded.write_ina3221(tmp_path, 3, recorded.ORIN_NX)
    sensor = Ina3221(tmp_path)
    reading = sensor.read()
    assert reading.power_w == pytest.approx(5.024 * 1.144)
    assert reading.rails_w["VDD_SOC"] == pytest.approx(5.016 * 0.320)
    assert "VDD_IN" in reading.scope and "carrier" in reading.scope
    assert reading.source == "INA3221 over hwmon (1-0040)"


def test_two_chips_of_an_agx_orin_sum_up_their_three_inputs(tmp_path: Path) -> None:
    first, second = recorded.AGX_ORIN
    recorded.write_ina3221(tmp_path, 1, first)
    recorded.write_ina3221(tmp_path, 2, second, "1-0041")
    reading = Ina3221(tmp_path).read()
    assert reading.power_w == pytest.approx(19.936 * 0.240 + 19.936 * 0.080 + 5.0 * 1.056)
    assert set(reading.rails_w) == {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"}, (
        "NC is unused"
    )


def test_a_reading_follows_the_files(tmp_path: Path) -> None:
    folder = recorded.write_ina3221(tmp_path, 1, recorded.ORIN_NX)
    sensor = Ina3221(tmp_path)
    (folder / "curr1_input").write_text("3000\n")
    assert sensor.read().power_w == pytest.approx(5.024 * 3.0)
    (folder / "curr1_input").unlink()
    with pytest.raises(SensorError, match="curr1_input is missing"):
        sensor.read()
    (folder / "curr1_input").write_text("soon\n")
    with pytest.raises(SensorError, match="cannot be read"):
        sensor.read()


def test_rails_that_make_no_whole_are_refused_and_listed(tmp_path: Path) -> None:
    folder = recorded.write_ina3221(tmp_path, 1, {"VDD_A": (5000, 1), "VDD_B": (5000, 1), "NC": (0, 0)})
    with pytest.raises(SensorError, match="VDD_A, VDD_B"):
        Ina3221(tmp_path)
    (folder / "in1_label").write_text("VDD_IN\n")
    (folder / "in1_enable").write_text("0\n")
    with pytest.raises(SensorError, match="the whole module; rails: VDD_B"):
        Ina3221(tmp_path)
    with pytest.raises(SensorError, match="no INA3221"):
        Ina3221(tmp_path / "nowhere")


def test_a_chip_in_the_supply_line_with_a_kernel_driver_comes_first(tmp_path: Path) -> None:
    recorded.write_ina3221(tmp_path, 1, recorded.ORIN_NX)
    folder = recorded.hwmon(tmp_path, 2, "ina226", "7-0044")
    (folder / "power1_input").write_text("12345000\n")
    sensor = find_power_sensor(tmp_path)
    assert sensor.read().power_w == pytest.approx(12.345)
    assert sensor.source == "INA226 over hwmon (7-0044)"
    second = recorded.hwmon(tmp_path, 4, "ina219", "7-0045")
    (second / "power1_input").write_text("1\n")
    with pytest.raises(SensorError, match=r"^2 INA219 or INA226 .* unknown which"):
        KernelIna2xx(tmp_path)


def test_zones_whose_part_is_off_have_no_temperature(tmp_path: Path) -> None:
    for number, (kind, millidegrees) in enumerate([("cpu-thermal", "44562"), ("cv0-thermal", "-256000")]):
        zone = tmp_path / f"class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(f"{kind}\n")
        (zone / "temp").write_text(f"{millidegrees}\n")
    (found,) = temperatures(tmp_path)
    assert (found.place, found.temperature_c, found.source) == ("cpu-thermal", 44.562, "thermal_zone0")


def test_tegrastats_lines_of_two_generations() -> None:
    orin = tegrastats.rails_w(recorded.TEGRASTATS_AGX_ORIN)
    assert orin == {"VDD_GPU_SOC": 2.34, "VDD_CPU_CV": 0.39, "VIN_SYS_5V0": 4.025, "VDDQ_VDD2_1V8AO": 0.301}
    tx2 = tegrastats.rails_w(recorded.TEGRASTATS_TX2)
    assert tx2["VDD_IN"] == 1.931 and "RAM" not in tx2 and "SWAP" not in tx2
    places = {t.place: t.temperature_c for t in tegrastats.temperatures(recorded.TEGRASTATS_AGX_ORIN)}
    assert places == {"CPU": 44.562, "Tboard": 32.0, "tj": 44.343}, "CV0 is off"


def test_tegrastats_is_followed_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SensorError, match="not installed"):
        Tegrastats()
    recorded.write_program(
        tmp_path,
        "tegrastats",
        f"""test "$*" = "--interval 100" || exit 1
echo '{recorded.TEGRASTATS_TX2}'
sleep 0.2
exec yes '{recorded.TEGRASTATS_TX2.replace("VDD_IN 1931", "VDD_IN 4000")}'""",
    )
    sensor = find_power_sensor(tmp_path)
    assert isinstance(sensor, Tegrastats)
    assert sensor.read().power_w == pytest.approx(1.931)
    wait_for(lambda: sensor.read().power_w == pytest.approx(4.0), "new reading", 5)
    sensor.close()
    assert sensor._process.returncode is not None


def test_a_tegrastats_that_dies_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    recorded.write_program(tmp_path, "tegrastats", "exit 1")
    with pytest.raises(SensorError, match="printed nothing"):
        Tegrastats()
