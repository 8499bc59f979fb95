"""Settings of a satellite that tasks from the ground change: policy parameters, values, order of sending."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nodes.contract.config import SatelliteConfig, SendOrder
from nodes.contract.messages import Order, PolicyTask, PriorityTask
from nodes.policies import FramePolicy, flying_policy
from nodes.policies.registry import parameters_in


class Changes:
    """The settings of a satellite after all tasks that it has received, whatever the order they came in.

    Args:
        config: the settings at the start.
    """

    def __init__(self, config: SatelliteConfig) -> None:
        self._config = config
        self._orders: dict[int, Order] = {}

    def add(self, order: Order) -> None:
        """Add a task.

        Raises:
            ValueError: the policy refuses its parameters; the settings stay.
        """
        self._orders[order.number] = order
        if isinstance(order.task, PolicyTask):
            try:
                self.policy()
            except ValueError:
                del self._orders[order.number]
                raise

    def add_all(self, orders: Iterable[Order]) -> None:
        """Add tasks that were received before a restart; those that were refused then are left out again."""
        for order in orders:
            try:
                self.add(order)
            except ValueError:
                continue

    def policy(self) -> FramePolicy:
        """Return the policy with its parameters. Raises ValueError if it refuses them."""
        base = self._config.parameters
        parameters: dict[str, Any] = (
            parameters_in(base, self._config.policy) if isinstance(base, Path) else dict(base)
        )
        for order in self._in_order():
            if isinstance(order.task, PolicyTask):
                parameters |= order.task.parameters
        return flying_policy(self._config.policy, parameters)

    @property
    def send_order(self) -> SendOrder:
        """The order of sending."""
        orders = [t.send_order for t in self._priorities() if t.send_order is not None]
        return orders[-1] if orders else self._config.send_order

    @property
    def values(self) -> Mapping[str, float]:
        """Values of frames that were set anew."""
        return {task.frame: task.value for task in self._priorities() if task.frame is not None}

    def _in_order(self) -> list[Order]:
        return [self._orders[number] for number in sorted(self._orders)]

    def _priorities(self) -> list[PriorityTask]:
        return [order.task for order in self._in_order() if isinstance(order.task, PriorityTask)]
