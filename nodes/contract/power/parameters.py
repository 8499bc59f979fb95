"""Parameters of a satellite's power system and of its temperature."""

from __future__ import annotations

from pydantic import Field, model_validator

from nodes.contract.strict import Strict

J_PER_WH = 3600.0


class SolarPanel(Strict):
    """A solar panel of a satellite that looks down.

    Args:
        area_m2: area of its cells.
        normal: its direction: x along the flight, z down, y = z cross x; None: it turns to the sun.
    """

    area_m2: float = Field(gt=0, allow_inf_nan=False)
    normal: tuple[float, float, float] | None = None

    @model_validator(mode="after")
    def _has_a_direction(self) -> SolarPanel:
        if self.normal is not None and not any(self.normal):
            raise ValueError("a normal of three zeros has no direction")
        return self


class Power(Strict):
    """Solar panels, battery, loads and temperature of a satellite (docs/power.md).

    Shares are of the battery's capacity. A part that is switched off, for its charge or its temperature, is
    switched on again beyond a margin.

    Args:
        name: of the description, for reports.
        panels: the solar panels.
        panel_efficiency: electrical power on the bus over the sunlight on the cells, 0 to 1.
        battery_wh: capacity of the battery.
        first_charge: share at scenario second 0.
        charge_efficiency: energy that the battery returns over the energy that charges it.
        compute_floor: share at which inference stops.
        radio_floor: share at which the radio is switched off.
        resume_margin: share above a floor at which the part is switched on again.
        bus_w: power of all that is always on.
        camera_j: energy of one capture.
        radio_off_w: power of the radio without contact, and below its floor.
        radio_on_w: in contact, without anything to send.
        radio_transmit_w: while the satellite sends.
        compute_idle_w: power of the computer while it is on and no model works.
        compute_w: while a model works; None: the energy of the node's profile for each answer, or of a
            board's power sensor.
        heat_capacity_j_k: of the satellite.
        heat_conductance_w_k: heat that it loses for each degree above its surroundings.
        sunlit_c: temperature that it would reach in sunlight without any load.
        eclipse_c: the same in eclipse.
        first_c: its temperature at scenario second 0.
        throttle_c: temperature from which the computer is slowed down.
        throttled_speed: its speed then, over that before; its power above idle falls in proportion.
        compute_off_c: temperature at which inference stops.
        cooling_margin_c: degrees below these two limits at which the computer is as before.
        report_every_s: scenario time between two entries of the state in the results.
        sources: where the values come from, by field.
    """

    name: str = Field(default="custom", min_length=1, max_length=64)
    panels: tuple[SolarPanel, ...] = Field(min_length=1)
    panel_efficiency: float = Field(gt=0, le=1)
    battery_wh: float = Field(gt=0, allow_inf_nan=False)
    first_charge: float = Field(default=1.0, ge=0, le=1)
    charge_efficiency: float = Field(default=0.95, gt=0, le=1)
    compute_floor: float = Field(default=0.3, ge=0, lt=1)
    radio_floor: float = Field(default=0.2, ge=0, lt=1)
    resume_margin: float = Field(default=0.05, gt=0, lt=1)
    bus_w: float = Field(ge=0, allow_inf_nan=False)
    camera_j: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    radio_off_w: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    radio_on_w: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    radio_transmit_w: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    compute_idle_w: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    compute_w: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    heat_capacity_j_k: float = Field(gt=0, allow_inf_nan=False)
    heat_conductance_w_k: float = Field(gt=0, allow_inf_nan=False)
    sunlit_c: float = Field(allow_inf_nan=False)
    eclipse_c: float = Field(allow_inf_nan=False)
    first_c: float = Field(default=20.0, allow_inf_nan=False)
    throttle_c: float = Field(default=55.0, allow_inf_nan=False)
    throttled_speed: float = Field(default=0.5, gt=0, le=1)
    compute_off_c: float = Field(default=65.0, allow_inf_nan=False)
    cooling_margin_c: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    report_every_s: float = Field(default=60.0, ge=1, allow_inf_nan=False)
    sources: dict[str, str] = Field(default_factory=dict)

    @property
    def capacity_j(self) -> float:
        """Capacity of the battery."""
        return self.battery_wh * J_PER_WH

    @model_validator(mode="after")
    def _limits_can_be_left(self) -> Power:
        highest = max(self.compute_floor, self.radio_floor)
        if highest + self.resume_margin > 1:
            raise ValueError(
                f"a part that stops at {highest:g} and resumes {self.resume_margin:g} above never resumes;"
                " lower the floor or resume_margin"
            )
        if self.throttle_c >= self.compute_off_c:
            raise ValueError("throttle_c is not below compute_off_c")
        return self
