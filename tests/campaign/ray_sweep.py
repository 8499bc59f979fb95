"""A sweep of 200 cells on three Ray nodes, one of which is killed: `python -m tests.campaign.ray_sweep`.

It compares the table with that of the same sweep in this process. It needs some 20 s of a core; CI does the
same with one node, and kills a worker.
"""

from __future__ import annotations

import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from nodes.lab.evaluation.workers.choice import workers_of
from nodes.lab.evaluation.workers.executor import ThisProcess
from nodes.lab.evaluation.workers.tasks import compute_cell
from tests.integration.nodes.test_clusters import cells, job, made_up_outcomes, table
from tests.support.ray_nodes import ray_nodes

BEFORE = 60  # cells that are done when the node is killed


def main() -> int:
    """Return 0 if both tables are equal."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outcomes = made_up_outcomes(folder / "cache")
        begin_s = time.monotonic()
        local = table(list(ThisProcess(outcomes).map(compute_cell, cells())), folder, "local.csv")
        print(f"here: {time.monotonic() - begin_s:.1f} s")
        with ray_nodes(3) as cluster:
            on_ray = job(outcomes, folder, cluster.address, jobs=None)
            for killed in (False, True):
                begin_s = time.monotonic()
                with workers_of(on_ray, outcomes) as workers:
                    results = workers.cells.map(compute_cell, cells())
                    every = list(islice(results, BEFORE))
                    if killed:
                        cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)  # SIGKILL
                    every += results
                    lost = workers.cells.lost  # type: ignore[attr-defined]
                same = table(every, folder, "ray.csv") == local
                print(
                    f"three nodes{', one killed' if killed else ''}: {time.monotonic() - begin_s:.1f} s, "
                    f"{len(every)} cells, {lost} workers lost, {'the same' if same else 'ANOTHER'} table"
                )
                if not same or lost != killed:
                    return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
