"""Sensors of a Raspberry Pi, with a vcgencmd that prints recorded output."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.sensors import raspberry
from nodes.sensors.raspberry import PmicAdc, Throttling
from nodes.sensors.reading import SensorError
from nodes.sensors.search import find_power_sensor
from tests.support import recorded_sensors as recorded


@pytest.fixture(autouse=True)
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def answer(board: Path, command: str, text: str, status: int = 0) -> None:
    (board / "answer").write_text(text)
    recorded.write_program(board, "vcgencmd", f'test "$*" = {command} && cat {board}/answer && exit {status}')


def test_the_pi_5_sums_the_rails_whose_current_is_measured(board: Path) -> None:
    answer(board, "pmic_read_adc", recorded.PMIC_READ_ADC)
    sensor = find_power_sensor(board)
    assert isinstance(sensor, PmicAdc)
    reading = sensor.read()
    # Worked out by hand from the recording: 6.22421 A * 0.861733 V and so on.
    assert reading.rails_w["VDD_CORE"] == pytest.approx(5.363607, abs=1e-6)
    assert reading.rails_w["HDMI"] == pytest.approx(0.122974, abs=1e-6)
    assert len(reading.rails_w) == 12 and not {"EXT5V", "BATT"} & set(reading.rails_w)
    assert reading.power_w == pytest.approx(7.240, abs=0.001)
    assert "5 V" in reading.scope


def test_a_pi_4_has_no_power_to_read(board: Path) -> None:
    answer(board, "pmic_read_adc", 'error=1 error_msg="Command not registered"\n')
    with pytest.raises(SensorError, match="Command not registered"):
        PmicAdc()
    answer(board, "pmic_read_adc", "     EXT5V_V volt(24)=5.09066000V\n")
    with pytest.raises(SensorError, match="not a Raspberry Pi 5"):
        PmicAdc()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("throttled=0x0", Throttling((), ())),
        ("throttled=0x50005", Throttling(("under-voltage", "throttled"), ("under-voltage", "throttled"))),
        ("throttled=0xe0008", Throttling(("soft temperature limit",),
                                         ("frequency capped", "throttled", "soft temperature limit"))),
    ],
)  # fmt: skip
def test_throttling_is_told_for_now_and_since_boot(board: Path, said: str, expected: Throttling) -> None:
    answer(board, "get_throttled", said + "\n")
    assert raspberry.throttling() == expected


def test_temperature_and_nonsense(board: Path) -> None:
    answer(board, "measure_temp", "temp=58.2'C\n")
    assert raspberry.temperature().temperature_c == 58.2
    answer(board, "measure_temp", "warm\n")
    with pytest.raises(SensorError, match="warm"):
        raspberry.temperature()
    for output in ("throttled=soon", "0x0"):
        answer(board, "get_throttled", output)
        with pytest.raises(SensorError, match="get_throttled printed"):
            raspberry.throttling()
    answer(board, "get_throttled", "VCHI initialization failed\n", 255)
    with pytest.raises(SensorError, match="VCHI initialization failed"):
        raspberry.throttling()


def test_a_machine_without_any_sensor_hears_what_was_tried(board: Path) -> None:
    with pytest.raises(SensorError) as error:
        find_power_sensor(board)
    for tried in ("INA219 or INA226", "no INA3221", "tegrastats is not installed", "not a Raspberry Pi"):
        assert tried in str(error.value)
