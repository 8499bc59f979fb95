"""Ray nodes on this machine, each with processes of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import ROOT

ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "RAY_USAGE_STATS_ENABLED": "0",
    # A node that dies is noticed after some seconds, instead of half a minute.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    # No worker starts before it is needed.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
}
STORE_BYTES = 80_000_000  # least that Ray takes


@contextlib.contextmanager
def ray_nodes(count: int, cpus: int = 1) -> Iterator[Any]:
    """Start nodes; `ray.init` connects to the first, which is the head.

    Yields:
        A `ray.cluster_utils.Cluster`.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        import ray
        from ray.cluster_utils import Cluster

        node = {"num_cpus": cpus, "object_store_memory": STORE_BYTES}
        cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        try:
            for _ in range(count - 1):
                cluster.add_node(**node)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


def worker_pid(_: int) -> int:
    """Return the process of the worker that runs this task."""
    return os.getpid()
