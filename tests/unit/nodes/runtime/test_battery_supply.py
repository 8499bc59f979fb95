"""The power supply of a running satellite, with a clock that the test moves."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nodes.contract.config import ConfigError, GroundConfig, SatelliteConfig
from nodes.contract.power.parameters import Power
from nodes.contract.power.presets import power_preset
from nodes.contract.power.sunlight import Sunlight, SunRow
from nodes.models import COMPACT
from nodes.runtime import inference
from nodes.runtime.battery_supply import BatterySupply, check_compute_power
from nodes.runtime.inference import Inference, Question
from tests.support.nodes.ends import Recorder
from tests.support.waiting import wait_for

# Eclipse until 1000 s, and then 60 W.
SUNLIGHT = Sunlight(
    rows=(SunRow(time_s=0, input_w=0, sunlit=False), SunRow(time_s=1000, input_w=60, sunlit=True))
)


class MovedClock:
    """Scenario time as the test sets it."""

    def __init__(self) -> None:
        self._time_s: float | None = None
        self._moved = threading.Condition()

    def now_s(self) -> float | None:
        return self._time_s

    def move(self, to_s: float) -> None:
        with self._moved:
            self._time_s = to_s
            self._moved.notify_all()

    def wait_until(self, time_s: float, gives_up: Callable[[], bool]) -> bool:
        with self._moved:
            self._moved.wait_for(
                lambda: gives_up() or (self._time_s is not None and self._time_s >= time_s), 30
            )
        return not gives_up()

    def wake(self) -> None:
        with self._moved:
            self._moved.notify_all()


def power(**changes: Any) -> Power:
    """A 6U that has 1 % of 86 Wh above the floor of inference: 3096 J."""
    return power_preset("6u").model_copy(update={"first_charge": 0.61, **changes})


class Flying:
    """A supply that runs, and what it reported."""

    def __init__(self, folder: Path, described: Power) -> None:
        self.clock, self.report = MovedClock(), Recorder()
        self.supply = BatterySupply(described, SUNLIGHT, self.clock, self.report, folder / "power.json")
        self.supply.start()

    def causes(self) -> list[str]:
        states = self.report.of("power_state")
        return [cause for state in states for cause in state["causes"] if cause != "interval"]


@pytest.fixture
def flying(tmp_path: Path) -> Iterator[Flying]:
    flown = Flying(tmp_path, power())
    yield flown
    flown.supply.stop()
    flown.supply.join(5)
    assert not flown.supply.is_alive() and flown.supply.failure is None


def test_its_next_change_is_named_and_moves_with_the_load(flying: Flying) -> None:
    wait_for(lambda: flying.supply.due_s() > 0, "the first forecast")
    assert flying.supply.due_s() == pytest.approx(3096 / 11.2)
    flying.clock.move(0.0)
    flying.supply.computing(True)
    assert flying.supply.due_s() == pytest.approx(3096 / 25)
    flying.supply.computing(False)
    flying.supply.radio("on")
    assert flying.supply.due_s() == pytest.approx(3096 / 15.2)


def test_those_that_wait_go_on_in_sunlight(flying: Flying) -> None:
    switched, gone_on = [], threading.Event()
    flying.supply.on_switch = lambda: switched.append(flying.supply.may_compute)
    flying.clock.move(300.0)
    wait_for(lambda: not flying.supply.may_compute, "the floor")
    threading.Thread(
        target=lambda: flying.supply.wait_to_compute(threading.Event()) and gone_on.set(), daemon=True
    ).start()
    flying.clock.move(1001.0)
    wait_for(lambda: "sunlight" in flying.causes(), "sunlight")
    assert not gone_on.is_set()
    flying.clock.move(1600.0)
    assert gone_on.wait(10)
    assert flying.causes() == ["compute off", "sunlight", "compute on"]
    assert switched == [False, True]


def test_one_that_waits_ends_with_the_node(flying: Flying) -> None:
    flying.clock.move(300.0)
    wait_for(lambda: not flying.supply.may_compute, "the floor")
    stopping = threading.Event()
    stopping.set()
    assert flying.supply.wait_to_compute(stopping) is False


def test_a_policy_sees_charge_temperature_and_the_time_to_sunlight(flying: Flying) -> None:
    flying.clock.move(100.0)
    outlook = flying.supply.outlook()
    assert outlook.charge == pytest.approx(0.61 - 100 * 11.2 / (86 * 3600))
    assert 19 < outlook.temperature_c < 20
    assert outlook.sunlight_in_s == 900


def test_the_next_process_goes_on_with_the_charge_of_the_one_before(tmp_path: Path) -> None:
    charges = []
    for time_s in (200.0, 300.0):
        flown = Flying(tmp_path, power(report_every_s=10.0))
        flown.clock.move(time_s)
        flown.supply.take(1000.0)
        charges.append(flown.supply.outlook().charge)
        flown.supply.radio("on")
        wait_for((tmp_path / "power.json").exists, "the kept state")
        flown.supply.stop()
        flown.supply.join(5)
    lost_j = (charges[0] - charges[1]) * 86 * 3600
    # What the radio took, and up to 10 s of a state that was kept before the energy was taken.
    assert lost_j >= 100 * 11.2 - 1
    flown.supply.forget_kept()
    assert not (tmp_path / "power.json").exists()


def test_what_a_board_measures_drains_the_battery(flying: Flying) -> None:
    flying.clock.move(0.0)
    flying.supply.measured_idle(7.0)
    flying.supply.computing(True)
    assert flying.supply.due_s() == pytest.approx(3096 / 12)  # idle alone: the rest is measured
    before = flying.supply.outlook().charge
    flying.supply.take(500.0)
    assert (before - flying.supply.outlook().charge) * 86 * 3600 == pytest.approx(500)


def config(folder: Path, **changes: Any) -> SatelliteConfig:
    return SatelliteConfig.model_validate(
        {
            "name": "S",
            "model": str(COMPACT),
            "management": {"unix_socket": "m"},
            "stations": [{"name": "G", "host": "10.0.0.1"}],
            "outbox": str(folder / "outbox"),
            "rate_bit_s": 1e6,
            **changes,
        }
    )


def test_power_and_sunlight_come_together_and_the_power_of_inference_is_known(tmp_path: Path) -> None:
    described = power().model_dump(mode="json")
    with pytest.raises(ValueError, match="set power and sunlight, or neither"):
        config(tmp_path, power=described)
    both = {"power": described | {"compute_w": None}, "sunlight": SUNLIGHT.model_dump(mode="json")}
    with pytest.raises(ConfigError, match="compute_w is not set"):
        check_compute_power(config(tmp_path, **both), Path("c.json"))
    check_compute_power(config(tmp_path, **both, measure_power=True), Path("c.json"))
    check_compute_power(config(tmp_path), Path("c.json"))


class OnAndOff:
    """A supply that the test switches, and what the work told it."""

    def __init__(self) -> None:
        self.power_is_on = threading.Event()
        self.told: list[object] = []
        self.radio_on = True

    @property
    def may_compute(self) -> bool:
        return self.power_is_on.is_set()

    def slowdown(self) -> float:
        return 1.0

    def wait_to_compute(self, stopping: threading.Event) -> bool:
        return self.power_is_on.wait(10)

    def computing(self, working: bool) -> None:
        self.told.append(working)

    def answered(self) -> None:
        self.told.append("answered")

    def measured_idle(self, idle_w: float) -> None:
        pass

    def take(self, energy_j: float) -> None:
        pass

    def radio(self, use: str) -> None:
        pass


def test_a_question_without_power_waits_and_leaves_the_node_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    class Parameters:
        parameters = 1

    monkeypatch.setattr(inference, "load_model", lambda config: (Parameters(), 0.0))
    where = {"management": {"unix_socket": "m"}, "broker": {"unix_socket": "b"}, "inbox": "inbox"}
    node = GroundConfig.model_validate({"name": "G", "model": str(COMPACT), **where})
    done = threading.Event()
    supply = OnAndOff()
    asking = Inference(
        node,
        lambda event, *, monotonic_s=None: None,
        work=lambda model, question, paced: "water",
        on_done=lambda question, answer, finished_s: done.set(),
        on_failure=lambda question, reason: None,
        prepare=lambda model: 0.0,
    )
    asking.supply = supply
    asking.start()
    asking.ask(Question("f", Path("f"), "what?"))
    wait_for(lambda: asking.due_s() == math.inf, "a queue without power")
    assert not done.is_set() and supply.told == []
    supply.power_is_on.set()
    assert done.wait(10)
    wait_for(lambda: "answered" in supply.told, "the end of the work")
    assert supply.told == [True, False, "answered"]
    asking.stop()
    asking.join(5)
