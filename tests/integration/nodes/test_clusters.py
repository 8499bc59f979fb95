"""Cells of an evaluation on Ray and Slurm give the bytes that this process gives."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import islice, product
from pathlib import Path

import numpy as np
import pytest

from nodes.contract.evaluation import Job, JobCase, JobData, JobPass, JobRow
from nodes.data import FIRST_LIGHT
from nodes.data.pairs import Pair, read_pairs
from nodes.errors import DataError, ModelError
from nodes.lab.evaluation.cells import Cell, Setting
from nodes.lab.evaluation.compute_times import ComputeTimes
from nodes.lab.evaluation.event_model.replay import ReplayedPair
from nodes.lab.evaluation.outcomes import Outcomes, image_digest
from nodes.lab.evaluation.results.summaries import row_of
from nodes.lab.evaluation.run import write_rows
from nodes.lab.evaluation.workers.choice import workers_of
from nodes.lab.evaluation.workers.executor import ThisProcess
from nodes.lab.evaluation.workers.tasks import compute_cell
from nodes.models import COMPACT, REGULAR
from nodes.onboard.confidence import END
from nodes.onboard.judge import Judge
from nodes.policies import SendWhole
from tests.support import ROOT
from tests.support.ray_nodes import ray_nodes, worker_pid

POLICIES = ("satellite-only", "ground-only", "offload-after", "two-threshold", "cascade")  # send whole frames
RATES_BIT_S = tuple(1e5 * number for number in range(1, 41))
PAIRS = read_pairs(FIRST_LIGHT)[:6]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return made_up_outcomes(tmp_path_factory.mktemp("cache"))


def made_up_outcomes(cache: Path) -> Outcomes:
    """Return outcomes that no model has computed: cells do not see the difference."""
    made = Outcomes(str(COMPACT), str(REGULAR), cache)
    for number, pair in enumerate(PAIRS):
        onboard = {
            "text": pair.truth if number % 2 else "none",
            "token_ids": [7, 8],
            "token_logprobs": [-0.1 * number, -0.05],
            "features": {stage: np.ones(3, dtype="<f4").tobytes() for stage in (0, 1, 2, END)},
            "attention": np.ones((1, 1, 64), dtype="<f4").tobytes(),
            "shape": [1, 1, 64],
        }
        made.cache.put(made._onboard_key(pair), onboard)
        size_bytes = pair.image.stat().st_size
        ground = {"size_bytes": size_bytes, "text": pair.truth, "form": "whole", "pieces": []}
        made.cache.put(made._ground_key(pair, SendWhole(), []), ground)
    return made


def cells(pairs: Sequence[Pair] = PAIRS, images: tuple[bytes, ...] = ()) -> list[Cell]:
    setting = pickle.dumps(
        Setting(
            pairs=tuple(pairs),
            images=images or tuple(image_digest(pair.image) for pair in pairs),
            times=ComputeTimes(*([0.1] * 10)),
            judge=Judge(),
            answer_within_s=60.0,
            send_order="oldest",
            ground_servers=1,
            seed=0,
        )
    )
    return [Cell(setting, case(rate), name, None) for rate, name in product(RATES_BIT_S, POLICIES)]


def case(rate_bit_s: float) -> JobCase:
    row = JobRow(time_s=0.0, up=True, down_bit_s=rate_bit_s, down_delay_s=0.01, up_delay_s=0.01)
    captures_s = [2.0 * number for number in range(len({pair.frame for pair in PAIRS}))]
    only = JobPass(name="pass1", rows=[row], end_s=300.0, captures_s=captures_s)
    return JobCase(rate_bit_s=rate_bit_s, passes=[only])


def job(outcomes: Outcomes, folder: Path, cluster: str, **fields: object) -> Job:
    return Job.model_validate(
        {
            "data": JobData(folder="first-light"),
            "cases": [case(1e6)],
            "cache": outcomes.cache.folder,
            "output": folder,
            "cluster": cluster,
            **fields,
        }
    )


def table(results: Sequence[list[ReplayedPair]], folder: Path, name: str) -> bytes:
    """Return `pairs.csv` of some cells."""
    by_name = {pair.name: pair for pair in PAIRS}
    rows = [
        row_of(cell.case, cell.policy, result, by_name[result.pair], result.pair)
        for cell, of_cell in zip(cells(), results, strict=False)
        for result in of_cell
    ]
    write_rows(folder / name, rows)
    return (folder / name).read_bytes()


def test_a_sweep_on_ray_is_the_local_one_though_a_worker_is_killed(
    outcomes: Outcomes, tmp_path: Path
) -> None:
    local = table(list(ThisProcess(outcomes).map(compute_cell, cells())), tmp_path, "local.csv")
    with (
        ray_nodes(1, cpus=2) as cluster,
        workers_of(job(outcomes, tmp_path, cluster.address, jobs=None), outcomes) as workers,
    ):
        (pid,) = workers.cells.map(worker_pid, [0])
        results: Iterator[list[ReplayedPair]] = workers.cells.map(compute_cell, cells())
        first = list(islice(results, 60))
        os.kill(pid, signal.SIGKILL)
        every = first + list(results)
        assert workers.cells.lost == 1  # type: ignore[attr-defined]
        with pytest.raises(DataError, match=r"\.jpg differs from the file where the evaluation was started"):
            next(workers.cells.map(compute_cell, cells(images=(b"another",) * len(PAIRS))))
    assert len(every) == len(RATES_BIT_S) * len(POLICIES) == 200
    assert table(every, tmp_path, "ray.csv") == local


def test_jobs_of_submitit_give_the_same_bytes(outcomes: Outcomes, tmp_path: Path) -> None:
    few = cells()[:20]
    local = table(list(ThisProcess(outcomes).map(compute_cell, few)), tmp_path, "local.csv")
    with workers_of(job(outcomes, tmp_path, "slurm-local", jobs=2), outcomes) as workers:
        assert table(list(workers.cells.map(compute_cell, few)), tmp_path, "slurm.csv") == local


def test_without_a_cluster_nothing_of_ray_is_imported_and_its_lack_is_one_line(
    outcomes: Outcomes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import sys, testbed.cli.eval, nodes.lab.evaluation.run\n"
        "from nodes.lab.evaluation.workers import processes\n"
        "print(*{'ray', 'submitit', 'cloudpickle'} & set(sys.modules))"
    )
    said = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True)
    assert said == "\n"
    for cluster, package, module in (("auto", "ray", "ray_cluster"), ("slurm", "submitit", "slurm")):
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(sys.modules, f"nodes.lab.evaluation.workers.{module}", raising=False)
        with (
            pytest.raises(ModelError, match=r"pip install 'spaceverse-testbed\[cluster\]'"),
            workers_of(job(outcomes, tmp_path, cluster, jobs=2), outcomes),
        ):
            pass
