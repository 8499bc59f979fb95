"""`spaceverse eval`: compare policies over real passes with model answers and an event model of the link.

The testbed makes the links and plots the results. `nodes.lab.evaluation`, started as a program with a job
file, does everything that involves models.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nodes.contract.config import first_problem
from nodes.contract.evaluation import (
    DATA_LAYOUTS,
    LOADS,
    POLICY_NAMES,
    PROFILE_ALIASES,
    SLURM_PLACES,
    Job,
    JobCase,
    JobData,
    choices_of,
    default_of,
    profile_path,
    published_profiles,
    read_job,
    split_source,
)
from nodes.contract.files import write_atomically
from nodes.contract.models.command_line import add_model_options, model_options_of
from testbed.cli.options_file import OptionsFile
from testbed.cli.terminal.console import console
from testbed.cli.units import DURATION, RATE, SIZE, UTC
from testbed.errors import ScenarioError
from testbed.run.folder import RunFolder

_SHIPPED = "eo-mini"
_RATES_BIT_S = (1e6, 2e6, 5e6, 20e6)
_JOB = "job.json"
_QUICK = {"limit": 16, "passes": 1, "rates": [2e6], "interval": 10.0}  # unless given
_ENDS_WITHIN_S = 10.0  # after Ctrl-C, for the current computation
_EPILOG = """examples:
  # options from a file
  spaceverse eval job.toml
  # another rate than the file's
  spaceverse eval job.toml --rates 5M
  # a short run: few pairs, one rate
  spaceverse eval --quick
  # a published benchmark, in a folder that you have
  spaceverse eval --data rsvqa-lr:RSVQA_LR --split test --choose-split val
  spaceverse eval --data aid:AID --limit 200
  spaceverse eval --data my_frames --rates 2M 20M \\
      --policies spaceverse ground-only my_policy.py
  spaceverse eval --compact Qwen/Qwen2-VL-2B-Instruct \\
      --regular Qwen/Qwen2-VL-7B-Instruct --device cuda
  # on the machines of a Ray cluster (docs/cluster.md)
  spaceverse eval --cluster auto

--regular openai:http://HOST:PORT/v1[#model]: use an OpenAI-compatible server such as vLLM. Images are sent as
data URLs, with the API key in OPENAI_API_KEY if it is set.

job.toml holds options by their names, for example
    data = "my_frames"
    rates = ["2M", "20M"]
    goal-bytes = 20_000
Options on the command line override it. Relative paths start at the working directory.

data: a folder, whose files tell their layout, or LAYOUT:FOLDER. Nothing is downloaded. Thresholds and heads
are selected on --choose-split; without it, half of the frames are set apart for selection. docs/benchmarks.md
has a section on each layout, and on frames from GeoTIFFs.
{layouts}

Model answers are cached in --cache: the same command resumes an interrupted evaluation.

policies: a Python file with a class Policy, or one of
"""


_LAYOUTS = "\n".join(f"  {name:<12} {looks}" for name, looks in DATA_LAYOUTS.items())


def add_parser(subparsers: Any) -> None:
    """Add `eval` to the command line."""
    parser = subparsers.add_parser(
        "eval",
        help="compare policies over passes and rates: accuracy, latency, bytes",
        description="Compare policies by accuracy, latency and bytes in an event model of the link.",
        epilog=_EPILOG.replace("{layouts}", _LAYOUTS) + "".join(f"  {name}\n" for name in POLICY_NAMES),
    )
    add = parser.add_argument
    add("job", nargs="?", action=OptionsFile, metavar="FILE.toml", help="file of options (see below)")
    add(
        "--data",
        default=_SHIPPED,
        metavar="DATA",
        help="data folder, perhaps after its layout (rsvqa-lr:FOLDER), or the name of a shipped one "
        "(default: %(default)s)",
    )
    add("--split", metavar="NAME", help="split to test on (default: all of --data)")
    add("--choose-split", metavar="NAME", help="split to select thresholds and heads on")
    add(
        "--choose-data",
        metavar="DATA",
        help=f"data folder to select them on (default for {_SHIPPED}: {_SHIPPED}-val)",
    )
    add(
        "--compact",
        default=default_of("compact"),
        metavar="MODEL",
        help="model folder or hub name (default: the shipped model)",
    )
    add(
        "--regular",
        default=default_of("regular"),
        metavar="MODEL",
        help="model folder, hub name or openai:http://HOST:PORT/v1[#model] (default: the shipped model)",
    )
    add(
        "--policies",
        nargs="+",
        default=list(POLICY_NAMES),
        metavar="NAME",
        help="names or files of policies (default: all)",
    )
    add(
        "--rates",
        nargs="+",
        type=RATE,
        default=list(_RATES_BIT_S),
        metavar="RATE",
        help="downlink rate caps (default: 1M 2M 5M 20M)",
    )
    add(
        "--satellite",
        default="FLOCK 2P-1",
        metavar="NAME",
        help="name or catalogue number (default: %(default)s)",
    )
    add("--station", default="Svalbard", metavar="NAME", help="ground station (default: %(default)s)")
    add(
        "--start",
        type=UTC,
        default="2018-01-20T08:00:00Z",
        metavar="UTC",
        help="time from which passes are searched (default: %(default)s)",
    )
    add("--passes", type=int, default=3, metavar="N", help="number of passes (default: %(default)s)")
    add(
        "--interval",
        type=DURATION,
        default=2.0,
        metavar="DURATION",
        help="time between frames (default: 2s)",
    )
    add(
        "--lead",
        type=DURATION,
        default=60.0,
        metavar="DURATION",
        help="time from the first frame to AOS (default: 60s)",
    )
    add(
        "--within",
        type=DURATION,
        default=default_of("answer_within_s"),
        metavar="DURATION",
        help="deadline after capture (default: %(default)g s)",
    )
    add(
        "--send-order",
        choices=["oldest", "newest", "deadline"],
        default=default_of("send_order"),
        help="which of the images that wait for a contact is sent first (default: %(default)s)",
    )
    add(
        "--target",
        choices=choices_of("target"),
        default=default_of("target"),
        help="label that the confidence network predicts (default: %(default)s)",
    )
    add(
        "--goal",
        choices=choices_of("goal"),
        default=default_of("goal"),
        help="select the thresholds of all policies for the best accuracy within a byte budget, or for the "
        "fewest bytes at the accuracy of sending everything (floor) (default: budget)",
    )
    add(
        "--goal-bytes",
        type=SIZE,
        metavar="SIZE",
        help="byte budget per prompt, such as 20kB (default: 35%% of sending everything)",
    )
    add(
        "--load",
        nargs="+",
        choices=LOADS,
        default=[],
        metavar="NAME",
        help=f"named loads instead of --rates, --passes and --interval: {', '.join(LOADS)}; the number is "
        "the bytes captured over those that the links carry",
    )
    add("--limit", type=int, metavar="N", help="use at most N pairs for selection and N for testing")
    add(
        "--times",
        metavar="PROFILE",
        help="profile of the satellite's computer: a file, or one of the published ones "
        f"({', '.join([*PROFILE_ALIASES, *published_profiles()])})",
    )
    add("--ground-times", metavar="PROFILE", help="profile of the ground's machine, as for --times")
    add(
        "--ground-servers",
        type=int,
        default=default_of("ground_servers"),
        metavar="K",
        help="copies of the regular model on the ground (default: %(default)s)",
    )
    add(
        "--jobs",
        type=int,
        metavar="N",
        help="processes that run the regular model, each with a copy (default: 1; for the shipped models "
        "one per core); with --cluster, the number of workers",
    )
    add(
        "--cluster",
        metavar="CLUSTER",
        help="compute on other machines: auto or HOST:PORT of a Ray cluster, slurm, or slurm-local to try "
        "Slurm's way on this machine; needs the extra `cluster`",
    )
    add(
        "--worker-gpus",
        type=float,
        metavar="GPUS",
        help="GPUs per worker on a Ray cluster, such as 0.5 (default: 1 with --device cuda, otherwise 0)",
    )
    add(
        "--slurm",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="sbatch options of the Slurm jobs, such as partition=gpu time=60",
    )
    add(
        "--seed", type=int, default=default_of("seed"), metavar="N", help="random seed (default: %(default)s)"
    )
    add(
        "--cache",
        type=Path,
        default=Path.home() / ".cache" / "spaceverse" / "outcomes",
        metavar="DIR",
        help="cache of model answers (default: ~/.cache/spaceverse/outcomes)",
    )
    add(
        "-o",
        "--output",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="parent of the run's folder (default: runs)",
    )
    add(
        "--emulated",
        type=DURATION,
        metavar="DURATION",
        help="also run this much of the first pass at each rate, or of each named load from --lead before "
        "its first contact on, over the emulated network, in real time, with all policies except the oracle, "
        "and print the difference; needs root",
    )
    add("--quick", action="store_true", help="16 pairs, one pass, 2 Mbit/s, where not given otherwise")
    add("--json", action="store_true", help="print JSON: the content of results.json")
    add_model_options(parser, tokens=default_of("max_new_tokens"), threads=default_of("model_threads"))
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.goal == "floor" and arguments.goal_bytes is not None:
        raise ScenarioError("--goal-bytes sets a byte budget: omit it, or omit --goal floor")
    if arguments.quick:
        for name, value in _QUICK.items():
            if name not in arguments.given:
                setattr(arguments, name, value)
    _check_cluster(arguments)
    with RunFolder.new(arguments.output, "eval", ("traces",)) as folder:
        job = _write_job(arguments, folder.path)
        code = _evaluate(job)
        if code == 0:
            _show(arguments, folder.path)
        elif code == 2:  # it has printed the reason, and there are no results
            folder.remove()
        return code if code >= 0 else 1


def _check_cluster(arguments: argparse.Namespace) -> None:
    if arguments.worker_gpus is not None and arguments.cluster in (None, *SLURM_PLACES):
        raise ScenarioError("--worker-gpus is for workers on a Ray cluster: omit it, or give --cluster")
    if arguments.slurm and arguments.cluster not in SLURM_PLACES:
        raise ScenarioError("--slurm is for jobs of Slurm: omit it, or give --cluster slurm")


def _evaluate(job: Path) -> int:
    """Run the program and return its exit status. Ctrl-C reaches it as well; it ends its own processes."""
    # The program lets SIGINT through once it is ready to end in one line.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    with subprocess.Popen([sys.executable, "-m", "nodes.lab.evaluation", str(job)]) as program:
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            return program.wait()
        except KeyboardInterrupt:
            try:
                program.wait(_ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                program.kill()
            raise


def _show(arguments: argparse.Namespace, folder: Path) -> None:
    """Print and plot the results; with --emulated, run them over the emulated network as well."""
    from testbed.evaluation.plots import draw_all  # matplotlib is slow to import
    from testbed.evaluation.table import results_table

    text = (folder / "results.json").read_text(encoding="utf-8")
    results = json.loads(text)
    draw_all(folder, results)
    terminal = console(stderr=arguments.json)
    if arguments.json:
        print(text, end="")
    else:
        terminal.print(results_table(results, terminal.width))
    if arguments.emulated is not None:
        _play(arguments, folder, terminal)
    terminal.print(f"results: {folder}", style="bold", soft_wrap=True)


def _play(arguments: argparse.Namespace, folder: Path, terminal: Any) -> None:
    from testbed.evaluation.emulated import play, write_load_traces  # only with --emulated

    parts = read_job(folder / _JOB).emulated
    write_load_traces(folder, parts, (arguments.satellite, arguments.station), arguments.start)
    links = [part.passes[0].name for part in parts]
    play(folder, links, arguments.policies, (arguments.satellite, arguments.station), terminal)


def _write_job(arguments: argparse.Namespace, folder: Path) -> Path:
    from testbed.evaluation.cases import Sky, make_cases, part_of_first_pass  # orbits are slow
    from testbed.evaluation.emulated import check_playable
    from testbed.evaluation.load_part import part_of_load
    from testbed.evaluation.loads import FRESH_S, make_loads
    from traces.trace_file import write_trace

    if arguments.jobs is not None and arguments.jobs < 1:
        raise ScenarioError("--jobs must be above 0")
    if arguments.passes < 1 or arguments.interval <= 0 or arguments.lead <= 0:
        raise ScenarioError("--passes, --interval and --lead must be above 0")
    if arguments.emulated is not None:
        check_playable(arguments.policies, arguments.send_order, arguments.ground_servers)
    sky = Sky(
        arguments.satellite,
        arguments.station,
        arguments.start,
        arguments.passes,
        lead_s=arguments.lead,
        interval_s=arguments.interval,
    )
    traces: dict[str, Any] = {}
    if arguments.load:
        cases = make_loads(arguments.load, arguments.satellite, arguments.start)
        if "within" not in arguments.given:
            arguments.within = FRESH_S
    else:
        cases, traces = make_cases(sky, arguments.rates)
    emulated = []
    if arguments.emulated is not None:
        for case in cases:
            if case.load is not None:
                emulated.append(part_of_load(case, arguments.lead, arguments.emulated))
                continue
            part, trace = part_of_first_pass(case, traces, arguments.emulated, sky)
            emulated.append(part)
            traces[part.passes[0].name] = trace
    for name, trace in traces.items():
        write_trace(trace, folder / "traces" / f"{name}.csv")
    path = folder / _JOB
    write_atomically(path, _job(arguments, folder, cases, emulated).model_dump_json() + "\n")
    return path


def _job(arguments: argparse.Namespace, folder: Path, cases: list[JobCase], emulated: list[JobCase]) -> Job:
    try:
        return Job(
            data=JobData(
                folder=_data(arguments.data),
                split=arguments.split,
                choose_split=arguments.choose_split,
                choose_folder=_choose_folder(arguments),
                limit=arguments.limit,
            ),
            compact=_absolute(arguments.compact),
            regular=_absolute(arguments.regular),
            policies=arguments.policies,
            cases=cases,
            emulated=emulated,
            answer_within_s=arguments.within,
            send_order=arguments.send_order,
            target=arguments.target,
            goal=arguments.goal,
            goal_bytes=arguments.goal_bytes,
            seed=arguments.seed,
            **model_options_of(arguments).model_dump(exclude_none=True),
            jobs=arguments.jobs or _default_jobs(arguments),
            cluster=arguments.cluster,
            worker_gpus=arguments.worker_gpus,
            slurm=_options_of(arguments.slurm),
            times=_profile(arguments.times),
            ground_times=_profile(arguments.ground_times),
            ground_servers=arguments.ground_servers,
            cache=arguments.cache.absolute(),
            output=folder.absolute(),
        )
    except ValidationError as error:
        raise ScenarioError(f"unsuitable options: {first_problem(error, Job)}") from error
    except ValueError as error:
        raise ScenarioError(f"unsuitable option {error}") from error


def _profile(name: str | None) -> Path | None:
    """Return the file of a profile that is given by its path or as a published one."""
    try:
        return None if name is None else profile_path(name)
    except ValueError as error:
        raise ScenarioError(str(error)) from None


def _options_of(pairs: Sequence[str]) -> dict[str, str]:
    """Return options that are given as KEY=VALUE."""
    for pair in pairs:
        if not pair.partition("=")[0] or "=" not in pair:
            raise ScenarioError(f"--slurm {pair}: write KEY=VALUE, such as partition=gpu")
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def _default_jobs(arguments: argparse.Namespace) -> int | None:
    """Return a process per core for the shipped models on the CPU, else the job's default.

    On a Ray cluster there is none: as many workers start as it has room for.
    """
    if arguments.cluster is not None:
        if arguments.cluster in SLURM_PLACES:
            raise ScenarioError(f"--cluster {arguments.cluster} needs --jobs: the number of Slurm jobs")
        return None
    shipped = default_of("compact"), default_of("regular")
    small = (arguments.compact, arguments.regular) == shipped
    return len(os.sched_getaffinity(0)) if small and arguments.device == "cpu" else int(default_of("jobs"))


def _choose_folder(arguments: argparse.Namespace) -> str | None:
    if arguments.choose_data is not None:
        return _data(arguments.choose_data)
    return f"{_SHIPPED}-val" if (arguments.data, arguments.choose_split) == (_SHIPPED, None) else None


def _absolute(name: str) -> str:
    """Return a folder's absolute path; other names, of shipped or hub data and models, stay as they are."""
    return str(Path(name).absolute()) if Path(name).is_dir() else name


def _data(name: str) -> str:
    """Return a data set's folder as an absolute path, after its layout if one is named."""
    try:
        layout, folder = split_source(name)
    except ValueError as error:
        raise ScenarioError(str(error)) from None
    return _absolute(name) if layout is None else f"{layout}:{folder.absolute()}"
