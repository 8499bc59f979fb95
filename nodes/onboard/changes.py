"""Settings of a satellite that tasks from the ground change.

They are the policy's parameters, the confidence network, values of frames, and the order of sending.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nodes.contract.config import SatelliteConfig
from nodes.contract.messages import NetworkTask, Order, PolicyTask, PriorityTask
from nodes.contract.queueing import SendOrder
from nodes.onboard.judge import Judge
from nodes.onboard.judge_choice import judge_sent_up
from nodes.policies import FramePolicy, flying_policy
from nodes.policies.registry import parameters_in
from nodes.policies.send_order import order_of


class Changes:
    """The settings of a satellite after all tasks that it has received, whatever the order they came in.

    Args:
        config: the settings at the start.
        judge: the judge at the start.
    """

    def __init__(self, config: SatelliteConfig, judge: Judge) -> None:
        self._config = config
        self._configured = judge
        self._orders: dict[int, Order] = {}
        self._judges: dict[
            int, tuple[str, Judge]
        ] = {}  # by number of the task that brought it, with its name

    def add(self, order: Order) -> None:
        """Add a task.

        Raises:
            ValueError: the policy refuses its parameters, or the network cannot be used; the settings stay.
        """
        if isinstance(order.task, NetworkTask):
            judge = judge_sent_up(order.task, self._config, self._configured)
            self._judges[order.number] = order.task.name, judge
            return
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
    def judge(self) -> Judge:
        """The judge with the confidence network that came up last."""
        return self._judges[max(self._judges)][1] if self._judges else self._configured

    def give_up(self, judge: Judge) -> str | None:
        """Give up a network that came up; return the name of its task, or None of the configured one."""
        for number, (name, one) in self._judges.items():
            if one is judge:
                del self._judges[number]
                return name
        return None

    @property
    def send_order(self) -> SendOrder:
        """The order of sending: of the last task that sets it, else the policy's, else the configured one."""
        orders = [t.send_order for t in self._priorities() if t.send_order is not None]
        return orders[-1] if orders else order_of(self.policy(), self._config.send_order)

    @property
    def values(self) -> Mapping[str, float]:
        """Values of frames that were set anew."""
        return {task.frame: task.value for task in self._priorities() if task.frame is not None}

    def _in_order(self) -> list[Order]:
        return [self._orders[number] for number in sorted(self._orders)]

    def _priorities(self) -> list[PriorityTask]:
        return [order.task for order in self._in_order() if isinstance(order.task, PriorityTask)]
