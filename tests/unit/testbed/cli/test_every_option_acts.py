"""Every option of every subcommand acts, or is refused with its name, in each branch of its command.

A branch is a command line that takes another way through the code: by format of a file, with a station or a
crosslink, with --listen or --connect. It runs once as it is, and once with each of its command's options.
Commands that only read and write files run as they are. Of those that need root, a network or a board, the
engine that the command calls is replaced by one that notes its arguments.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapWriter

from nodes.contract.evaluation import read_job
from testbed.cli.main import main, parser
from testbed.cli.parser import leaf_parsers
from tests.support.recording_samples import samples
from traces.orbits.tle import FLOCK_TLE
from traces.recordings import Assumptions, parse_recording
from traces.trace_file import write_trace

# Values other than the default, by metavar; of choices, the last one is taken.
BY_METAVAR = {
    "RATE": "1M", "DURATION": "7s", "SHARE": "3%", "SIZE": "5kB", "UTC": "2018-01-20T03:00:00Z", "N": "2",
    "DEG": "12", "KM": "321", "FACTOR": "2", "NAME": "X", "COMMAND": "true", "DBW": "77", "ZONE": "+03:00",
    "DEVICE": "cuda:1", "MODEL": "other", "ARCH": "riscv64", "VERSION": "3.12", "TORCH": "torch==2",
    "NUMBER": "24", "CHAR": ";", "LIST": "time=1:s,down=2:Mbit/s", "DATA": "mine", "ADDRESS": "192.0.2.1",
    "H": "0.01", "I:T/P/F@KM": "53:24/3/1@550", "FORMAT": "csv",
}  # fmt: skip
# Options that every branch may have without an effect, and why.
WITHOUT_EFFECT = {
    "--help": "prints and ends",
    "--force": "permits what is refused without it; see test_output.py",
    "--verbose": "logs, for whoever logs something; see test_log.py",
    "--log-file": "as --verbose",
}
# How an error about an option's value calls it, where not by its name.
SAID_AS = {
    "--columns": "column", "--begin": "cannot cut", "--from": "line 1", "--duration": "the window has",
    "--seconds": "the window has", "--hours": "the window has",
}  # fmt: skip
MAKE = ["trace", "make", "-o", "out.csv"]
STATION = ["--satellite", "FLOCK 2P-1", "--station", "Svalbard", "--duration", "6h"]
CROSSLINK = ["--satellite", "FLOCK 2P-1", "--crosslink", "FLOCK 2K-13", "--duration", "3h"]


@dataclass(frozen=True)
class Branch:
    """A command line of a subcommand.

    Attributes:
        line: the command line; it succeeds.
        values: values of options, where those by metavar will not do.
        without_effect: options that need not act here, and why.
        engine: replaces what needs root, a network or a board; it is given a function that notes calls.
    """

    line: list[str]
    values: Mapping[str, str | None] = field(default_factory=dict)
    without_effect: Mapping[str, str] = field(default_factory=dict)
    engine: Callable[[pytest.MonkeyPatch, Callable[..., Any]], None] | None = None


def conversions() -> dict[str, list[str]]:
    """Return the command line that converts a sample of each format, from the assumptions that it needs."""
    names = {
        "down_bit_s": "--down-rate", "up_bit_s": "--up-rate", "down_delay_s": "--down-delay",
        "up_delay_s": "--up-delay", "zone": "--zone", "station": "--station", "columns": "--columns",
        "separator": "--separator", "missing": "--missing",
    }  # fmt: skip
    lines = {}
    for form, sample in samples().items():
        line = ["sample-" + form, "--from", form]
        for name, option in names.items():
            value = getattr(sample.beside, name)
            if value not in (None, (), ","):
                value = value[0] if isinstance(value, tuple) else "UTC" if name == "zone" else value
                line.append(f"{option}={value}")
        lines[form] = line
    lines["own"] = ["link.csv"]
    return lines


def calls_only(*places: str, returns: Any = 0) -> Callable[[pytest.MonkeyPatch, Callable[..., Any]], None]:
    """Return a replacement of functions that notes their arguments."""

    def replace(monkeypatch: pytest.MonkeyPatch, note: Callable[..., Any]) -> None:
        for place in places:
            monkeypatch.setattr(
                place, lambda *args, place=place, **named: (note(place, args, named), returns)[1]
            )

    return replace


def recorded_path(monkeypatch: pytest.MonkeyPatch, note: Callable[..., Any]) -> None:
    monkeypatch.setattr("testbed.measure.path.record.serve", lambda *args, **named: note("serve", named))
    monkeypatch.setattr("testbed.cli.trace.record._on_signals", lambda: lambda: False)
    monkeypatch.setattr("testbed.measure.path.record.take_real_time", lambda: True)

    class Client:
        def __init__(self, *args: Any) -> None:
            note("client", args[:2])

        def measure(self, *args: Any) -> Any:
            note("measure", args)
            return SimpleNamespace(sent_ns=[1], echoes=[0] * 5, down=[], up=[])

    def trace_of(measured: Any, *, notes: tuple[str, ...], **named: Any) -> Any:
        note("trace", named)
        return parse_recording(samples()["mahimahi"].data, "m", Assumptions(delay_s=0.02))

    monkeypatch.setattr("testbed.measure.path.record.Client", Client)
    monkeypatch.setattr("testbed.measure.path.trace.trace_of", trace_of)


def replayed(monkeypatch: pytest.MonkeyPatch, note: Callable[..., Any]) -> None:
    def replay(plan: Any, parent: Path, say: Any, output: Any) -> int:
        note(
            vars(plan) | {"trace": None}, plan.trace.end_s, list(plan.trace.rows()), plan.trace.header, parent
        )
        note(output is None)
        return 0

    monkeypatch.setattr("testbed.replay.replay.replay", replay)


def evaluated(monkeypatch: pytest.MonkeyPatch, note: Callable[..., Any]) -> None:
    def evaluate(path: Path) -> int:
        job = json.loads(read_job(path).model_dump_json())
        note({**job, "output": str(Path(job["output"]).parent)})
        return 0

    monkeypatch.setattr("testbed.cli.eval._evaluate", evaluate)
    monkeypatch.setattr("testbed.cli.eval._show", lambda arguments, folder: note(arguments.json))


def verified(monkeypatch: pytest.MonkeyPatch, note: Callable[..., Any]) -> None:
    from testbed.machine.processor_load import ProcessorLoad
    from testbed.verify.verify import Verified
    from traces.trace_file import read_trace

    def verify(*args: Any, on_step: Any, tick: Any, trace: Any, **named: Any) -> Verified:
        note(args, named, trace and trace.header)
        return Verified("shaper", [], None, read_trace("link.csv"), ProcessorLoad().record())

    monkeypatch.setattr("testbed.cli.verify.verify", verify)
    monkeypatch.setattr("os.geteuid", lambda: 0)


def checked_board(monkeypatch: pytest.MonkeyPatch, note: Callable[..., Any]) -> None:
    for place in ("attachability.check_attachment", "system.check_system"):
        monkeypatch.setattr(
            f"testbed.boards.check.{place}", lambda board, **named: (note(board, named), [])[1]
        )
    monkeypatch.setattr("testbed.boards.agent_access.agent_config", lambda board: {"board": str(board)})


def cleaned(monkeypatch: pytest.MonkeyPatch, note: Callable[..., Any]) -> None:
    monkeypatch.setattr("testbed.boards.machine_network.journal.clean", lambda undo: (["undone"], True))
    for name in ("remove_left_behind", "left_behind"):
        monkeypatch.setattr(f"testbed.run.own_folders.{name}", list)


def on_a_board(monkeypatch: pytest.MonkeyPatch, note: Callable[..., Any]) -> None:
    @contextlib.asynccontextmanager
    async def connect(board: Any, **named: Any) -> Any:
        note(board, named)
        yield SimpleNamespace(run=run)

    async def run(*command: str) -> str:
        note(command)
        return "{}"

    async def deploy(shell: Any, bundle: Path, config: Any, *, models: Any, step: Any) -> Any:
        note(bundle, config, models)
        return SimpleNamespace(wheels_sent=1, model_files_sent=1, unit=True)

    monkeypatch.setattr("testbed.boards.ssh.connect", connect)
    monkeypatch.setattr("testbed.boards.deploy.deploy.deploy", deploy)
    monkeypatch.setattr("testbed.boards.agent_access.agent_config", lambda board: {"board": board.name})
    monkeypatch.setattr(
        "testbed.cli.board.deploy.subprocess",
        SimpleNamespace(run=lambda command, check: (note(command), SimpleNamespace(returncode=0))[1]),
    )


NAMES_OF_ORBITS = {
    "--tle": "two.tle",
    "--satellite": "FLOCK 2P-2",
    "--station": "Inuvik",
    "--radio": "cubesat-uhf",
}
OF_CROSSLINKS = {**NAMES_OF_ORBITS, "--crosslink": "FLOCK 2K-14"}
PASS = {"--tail": "9s", "--lead": "9s", "--mask": "6"}
OF_RECORDINGS = {
    "--delay-from": "delays.txt", "--tle": "two.tle", "--up-file": "up.mahi", "--satellite": "FLOCK 2P-2",
    "--columns": "time=1:s,down=2:Mbit/s,up=3:Mbit/s,rtt=4:ms", "--gaps": "down", "--bin": "150ms",
    "--outage": "30ms",
    "--loop": "1m", "--delay-unit": "ns", "--missing": "18", "--from": "mahimahi",
}  # fmt: skip
OTHER_VALUES = {
    "mahimahi": {"--from": "ping"},
    "leoreplayer-delay": {"--from": "ping"},
    "csv": {"--columns": "time=when:iso,down=dl:kbit/s,rtt=4:ms", "--separator": ","},
}
DEPENDS_ON_THE_DATA = {"--outage": "no outage of this length", "--gaps": "no gap"}
OF_EVALUATIONS = {
    "--policies": "oracle", "--satellite": "FLOCK 2P-2", "--station": "Inuvik", "--times": "times.json",
    "--emulated": "20s", "--cache": "cache", "--output": "elsewhere", "--start": "2018-01-21T00:00:00Z",
    "--limit": "9", "--within": "7s", "--threads": "3", "--tokens": "5",
    "--min-pixels": "1000", "--max-pixels": "2000", "--jobs": "7", "--passes": "2",
    "--ground-times": "agx-orin-2b-fp16", "--ground-servers": "2", "--load": "starlink",
    "--cluster": "192.0.2.1:6379", "--worker-gpus": "0.5", "--slurm": "partition=gpu",
}  # fmt: skip
BOARD = {"--boards": "other.toml", "--identity": "key", "--known-hosts": "hosts", "NAME": "b"}
REPLAY = ["replay", "link.csv", "--client", "true"]

CANNOT_HOLD = dict.fromkeys(
    ("--start", "--satellite", "--station", "--down-loss", "--up-loss", "--down-delay", "--up-delay",
     "--up-rate", "--down-rate"),
    "the format written cannot hold it",
)  # fmt: skip

BRANCHES = {
    "make": Branch([*MAKE, *STATION], NAMES_OF_ORBITS),
    "make --pass": Branch([*MAKE, *STATION, "--pass", "1"], {**NAMES_OF_ORBITS, **PASS}),
    "make --crosslink": Branch([*MAKE, *CROSSLINK], OF_CROSSLINKS),
    "make --crosslink --pass": Branch([*MAKE, *CROSSLINK, "--pass", "1"], {**OF_CROSSLINKS, **PASS}),
    "passes": Branch(["trace", "passes", *STATION], NAMES_OF_ORBITS),
    "passes --crosslink": Branch(["trace", "passes", *CROSSLINK], OF_CROSSLINKS),
    "info": Branch(["trace", "info", "link.csv"]),
    "plot": Branch(["trace", "plot", "link.csv"], {"--output": "out.svg"}),
    "cut": Branch(
        ["trace", "cut", "link.csv", "--begin", "0.01", "-o", "out.csv"], {"--end": "0.1", "--contact": "1"}
    ),
    "cut --contact": Branch(
        ["trace", "cut", "gaps.csv", "--contact", "1", "-o", "out.csv"],
        {"--begin": "0.1", "--end": "0.2", "--lead": "1s", "--tail": "1s"},
    ),
    **{
        f"convert {form}": Branch(
            ["trace", "convert", *line, "-o", "out.csv"],
            {**OF_RECORDINGS, **OTHER_VALUES.get(form, {})},
            DEPENDS_ON_THE_DATA,
        )
        for form, line in conversions().items()
    },
    **{
        f"convert --to {target}": Branch(
            ["trace", "convert", "gaps.csv", "--to", target, "-o", "out.csv"],
            {
                **OF_RECORDINGS,
                "--to": "spaceverse",
                "--direction": "up",
                "--up-rate": "2M",
                "--down-rate": "2M",
            },
            CANNOT_HOLD,
        )
        for target in ("mahimahi", "ion")
    },
    "record": Branch(
        ["trace", "record", "--connect", "127.0.0.1", "-o", "out.csv"],
        {"--port": "5", "--satellite": "a"},
        engine=recorded_path,
    ),
    "record --listen": Branch(["trace", "record", "--listen"], {"--port": "5"}, engine=recorded_path),
    "export tables": Branch(["export", "tables", "run", "-o", "out"], {"--output": "other"}),
    "export dashboard": Branch(["export", "dashboard", "-o", "out.json"], {"--output": "other.json"}),
    "export tensorboard": Branch(["export", "tensorboard", "run", "-o", "out"], {"--output": "other"}),
    "export czml": Branch(["export", "czml", "scenario.py", "-o", "out.czml"], {"--output": "other.czml"}),
    "export czml of passes": Branch(
        ["export", "czml", "passes.csv", "-o", "out.czml"], {"--output": "other.czml", "--tle": "two.tle"}
    ),
    "export kml": Branch(["export", "kml", "scenario.py", "-o", "out.kml"], {"--output": "other.kml"}),
    "export oem": Branch(["export", "oem", "scenario.py", "-o", "out"], {"--output": "other"}),
    "plan": Branch(["plan", "scenario.py"], {"--output": "out.svg"}),
    "report": Branch(
        ["report", "run"],
        engine=calls_only(
            "testbed.cli.scenario.report._run_of", "testbed.cli.scenario.report.comparison_table"
        ),
    ),
    "run": Branch(
        ["run", "scenario.py"],
        engine=calls_only("testbed.run.run.run_scenario", returns=SimpleNamespace(results=None, exit_code=0)),
        values={"--compare": "ground-only"},
        without_effect={
            "--json": "the result is not printed without an engine",
            "--compare": "without an engine, the first run has no result",
        },
    ),
    "replay": Branch(
        REPLAY, {**OF_RECORDINGS, "--client": "false", "--begin": "0.1"}, DEPENDS_ON_THE_DATA, replayed
    ),
    "replay without a client": Branch(
        ["replay", "link.csv", "--server", "true"],
        {**OF_RECORDINGS, "--server": "false", "--begin": "0.1", "--client-at": "0"},
        DEPENDS_ON_THE_DATA,
        replayed,
    ),
    "verify": Branch(
        ["verify"],
        {"--only": "tcp", "--trace": "link.csv", "--plot": "p.png", "--capture": "c"},
        {"--plot": "drawn from the pass, which is not measured here"},
        verified,
    ),
    "verify --only": Branch(
        ["verify", "--only", "rtt"],
        {"--only": "tcp", "--trace": "link.csv", "--plot": "p.png", "--capture": "c"},
        {},
        verified,
    ),
    "captures": Branch(["captures", "a.pcap", "b.pcap"], {}, {}, None),
    "eval": Branch(["eval"], OF_EVALUATIONS, {"--goal": "the default of --goal-bytes"}, evaluated),
    "eval --quick": Branch(["eval", "--quick"], OF_EVALUATIONS, {}, evaluated),
    "live": Branch(["live", "a-run"], engine=calls_only("testbed.cli.live.commands._serve")),
    "doctor": Branch(["doctor"]),
    "clean": Branch(["clean"], engine=cleaned),
    "board list": Branch(["board", "list"], BOARD),
    "board check": Branch(["board", "check", "a"], BOARD, engine=checked_board),
    "board check --no-login": Branch(["board", "check", "a", "--no-login"], BOARD, engine=checked_board),
    "board agent-config": Branch(
        ["board", "agent-config", "a"], {**BOARD, "--output": "agent.json"}, engine=checked_board
    ),
    "board bundle": Branch(
        ["board", "bundle"], engine=calls_only("testbed.boards.deploy.bundle.make_bundle", returns=[])
    ),
    "board deploy": Branch(["board", "deploy", "a"], BOARD, engine=on_a_board),
    "board profile": Branch(["board", "profile", "a"], {**BOARD, "--output": "p.json"}, engine=on_a_board),
    "board profile --local": Branch(
        ["board", "profile", "--local"], {**BOARD, "--output": "p.json"}, engine=on_a_board
    ),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the branches name."""
    from tests.support import ROOT

    folder = tmp_path_factory.mktemp("inputs")
    for form, sample in samples().items():
        (folder / f"sample-{form}").write_bytes(sample.data)
    link = parse_recording(samples()["mahimahi"].data, "m", Assumptions(delay_s=0.02))
    write_trace(link, folder / "link.csv")
    assert main(["trace", "make", *STATION, "-o", str(folder / "gaps.csv")]) == 0
    (folder / "delays.txt").write_text("24\n18\n18\n30\n")
    (folder / "up.mahi").write_bytes(b"1\n5\n9\n200\n")
    (folder / "two.tle").write_bytes(FLOCK_TLE.read_bytes().replace(b"16.", b"15."))
    (folder / "key").write_text("key")
    (folder / "hosts").write_text("hosts")
    board = '[boards.{}]\nmanagement = "127.0.0.{}"\nattach = {{ kind = "nic", interface = "eth{}" }}\n'
    (folder / "boards.toml").write_text(board.format("a", 1, 1) + board.format("b", 2, 2))
    (folder / "other.toml").write_text(board.format("a", 3, 3))
    (folder / "times.json").write_text("{}")
    (folder / "scenario.py").write_text((ROOT / "topologies/dove_pass.py").read_text())
    (folder / "run/traces").mkdir(parents=True)
    for name, content in {
        "scenario.json": '{"satellites": [], "stations": []}',
        "results.json": '{"frames": []}',
        "events.jsonl": "",
    }.items():
        (folder / "run" / name).write_text(content)
    (folder / "passes.csv").write_text(
        "satellite,station,aos_utc,los_utc\nFLOCK 2P-1,Svalbard,2018-01-20T14:35:00Z,2018-01-20T14:43:00Z\n"
    )
    for end in ("a", "b"):
        with RawPcapWriter(str(folder / f"{end}.pcap"), linktype=1, nano=True) as capture:
            capture.write(bytes(Ether(src=f"02:00:00:00:00:0{end}") / IP(id=1) / UDP() / b"x"))
    return folder


def options() -> Iterator[tuple[str, argparse.Action]]:
    """Return every option of every subcommand, with the subcommand's words."""
    for command in leaf_parsers(parser()):
        if "-" in command.prefix_chars:  # `ask` passes its words on; see tests/unit/nodes/test_ask_options.py
            for action in command._actions:
                if action.option_strings:
                    yield command.prog.removeprefix("spaceverse "), action


OPTIONS = list(options())


def command_of(branch: Branch) -> str:
    """Return the words of a branch's subcommand."""
    commands = sorted({command for command, _ in OPTIONS}, key=len, reverse=True)
    return next(command for command in commands if branch.line[: len(command.split())] == command.split())


CASES = [
    (name, action.option_strings[-1], action)
    for name, branch in BRANCHES.items()
    for command, action in OPTIONS
    if command == command_of(branch) and action.option_strings[-1] not in WITHOUT_EFFECT
]


def test_every_subcommand_has_a_branch() -> None:
    assert {command_of(branch) for branch in BRANCHES.values()} == {command for command, _ in OPTIONS}


def value_of(branch: Branch, action: argparse.Action) -> str | None:
    """Return a value that is not the option's default; None for an option that takes none."""
    name = action.option_strings[-1]
    if name in branch.values:
        return branch.values[name]
    if action.nargs == 0:
        return None
    if action.choices is not None:
        return str([choice for choice in action.choices if choice != action.default][-1])
    return BY_METAVAR[str(action.metavar)] if action.metavar in BY_METAVAR else "some-" + action.dest


_STAMP = re.compile(r"\d{8}T\d{6}")


@dataclass
class Outcome:
    """What a command did: its exit code and outputs, and the calls of its engine."""

    code: int
    out: str
    err: str
    files: dict[str, bytes]
    calls: list[str]


class Runner:
    """Runs command lines, each in a copy of the inputs."""

    def __init__(self, inputs: Path, folder: Path, monkeypatch: Any, capfd: Any) -> None:
        self._inputs, self._folder, self._capfd = inputs, folder, capfd
        self._monkeypatch = monkeypatch
        self._number = itertools.count()

    def run(self, branch: Branch, more: list[str]) -> Outcome:
        """Run a branch with more words."""
        folder = self._folder / str(next(self._number))
        shutil.copytree(self._inputs, folder)
        calls: list[str] = []
        with self._monkeypatch.context() as patch:
            patch.chdir(folder)
            if branch.engine is not None:
                branch.engine(patch, lambda *call: calls.append(repr(call)))
            self._capfd.readouterr()
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                code = main([*branch.line, *more])
        out, err = self._capfd.readouterr()
        plain = re.compile(rf"{re.escape(str(folder))}|\d{{8}}T\d{{6}}[.\d]*|0x[0-9a-f]{{6,}}")
        files = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not _STAMP.search(str(path))
        }
        return Outcome(
            code, plain.sub("", out), plain.sub("", err), files, [plain.sub("", one) for one in calls]
        )


@pytest.fixture
def runner(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Runner:
    return Runner(inputs, tmp_path, monkeypatch, capfd)


BASE: dict[str, Outcome] = {}


@pytest.mark.parametrize("name", BRANCHES)
def test_a_branch_succeeds_as_it_is(name: str, runner: Runner) -> None:
    outcome = runner.run(BRANCHES[name], [])
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    ("name", "option", "action"), CASES, ids=[f"{name} {option}" for name, option, _ in CASES]
)
def test_an_option_acts_or_is_refused_with_its_name(
    name: str, option: str, action: argparse.Action, runner: Runner
) -> None:
    branch = BRANCHES[name]
    value = value_of(branch, action)
    if name not in BASE:
        BASE[name] = runner.run(branch, [])
    base = BASE[name]
    assert base.code == 0, base.err
    if option in [word.split("=")[0] for word in branch.line] and action.nargs == 0:
        return  # the branch is that of this option
    given = runner.run(branch, [option if value is None else f"{option}={value}"])
    if given.code != 0:
        words = {option, action.option_strings[0], option.removeprefix("--"), SAID_AS.get(option), value}
        assert any(word in given.err for word in words if word), given.err
        assert given.err.count("spaceverse: error: ") == 1
        return
    if option not in branch.without_effect:
        assert (given.out, given.err, given.files, given.calls) != (
            base.out,
            base.err,
            base.files,
            base.calls,
        )
