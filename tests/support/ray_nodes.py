"""Ray nodes on this machine, each with processes of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import pytest

# A node that dies is noticed after a second or two, instead of half a minute.
QUICK = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "PYTHONPATH": os.pathsep.join(path for path in [os.environ.get("PYTHONPATH", ""), os.getcwd()] if path),
}
STORE_BYTES = 80_000_000  # least that Ray takes


@contextlib.contextmanager
def ray_nodes(count: int) -> Iterator[Any]:
    """Start nodes with one CPU each; the first is the head, to which `ray.init` connects.

    Yields:
        A `ray.cluster_utils.Cluster`.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUICK.items():
            patch.setenv(name, value)
        import ray
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        try:
            for _ in range(count - 1):
                cluster.add_node(wait=False, num_cpus=1, object_store_memory=STORE_BYTES)
            cluster.wait_for_nodes(60)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


def kill_node(cluster: Any, number: int) -> None:
    """Kill the processes of a node other than the head with SIGKILL."""
    cluster.remove_node(cluster.list_all_nodes()[number], allow_graceful=False)
