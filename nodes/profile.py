"""Program that measures the time of each stage of an answer on this machine, and the energy of an answer.

python -m nodes.profile MODEL --output profile.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nodes.board.assignment import model_folder
from nodes.contract.config import ConfigError, I2cPowerSensor, first_problem
from nodes.contract.files import check_output, is_stdout, write_atomically
from nodes.contract.models.command_line import add_model_options, command_line_of, model_options_of
from nodes.contract.models.options import MAX_NEW_TOKENS, ModelOptions
from nodes.errors import ModelError
from nodes.profiles.pace import further_tokens
from nodes.profiles.profile import AnswerEnergy, Profile, Stage
from nodes.vlm.folder import check_model_folder
from nodes.vlm.image import open_image
from nodes.vlm.loading.checks import check_options

_SHIPPED = Path(__file__).parent
_EPILOG = """examples:
  python -m nodes.profile nodes/models/compact --output jetson-orin-nx.json --name jetson-orin-nx
  python -m nodes.profile Qwen/Qwen2-VL-2B-Instruct --device cuda --output orin.json
  python -m nodes.profile nodes/models/compact --data my_frames --repeats 50 --output pi5.json

A cold start is measured in a new process; the kernel may still have its files in memory.
exit status: 0 profile written; 1 the model failed; 2 the model or the images cannot be used
"""
IDLE_S = 3.0
BETWEEN_S = 0.3  # so that the power of one answer is not that of the next


def measure_profile(
    model_name: str,
    *,
    name: str,
    data: str | Path,
    repeats: int = 20,
    cold_starts: int = 3,
    options: ModelOptions | None = None,
    sensor: I2cPowerSensor | None = None,
) -> Profile:
    """Measure a model on this machine.

    Args:
        model_name: folder or hub name.
        name: name of the machine.
        data: frames and prompts, as `spaceverse eval --data` reads them.
        repeats: number of answers to measure, after two for warming up.
        cold_starts: number of new processes that load the model and answer once.
        options: how the model runs.
        sensor: the power sensor to use; None: search for one.

    Raises:
        ModelError: the model cannot be used.
        DataError: the images or prompts cannot be used.
    """
    from nodes.data.pairs import read_pairs  # numpy
    from nodes.vlm.model import load_model  # torch

    runs = options or ModelOptions()
    max_new_tokens = runs.max_new_tokens
    check_model_folder(model_name)
    check_options(model_name, runs)
    pairs = read_pairs(data)
    cold_s = [_cold_start_s(model_name, pairs[0].image, runs) for _ in range(cold_starts)]
    model = load_model(model_name, runs)
    model.warm_up()
    samples: dict[str, list[float]] = {"cold_start": cold_s} if cold_s else {}
    energies: list[float] = []
    with ExitStack() as stack:
        meter, idle_w, no_energy = _meter(stack, sensor)
        for number in range(-2, repeats):
            pair = pairs[number % len(pairs)]
            begin_s = time.monotonic()
            image = open_image(pair.image)
            opened_s = time.monotonic() - begin_s
            answer = model.answer(image, pair.prompt, max_new_tokens=max_new_tokens)
            end_s = time.monotonic()
            seconds = _stages(answer, opened_s, max_new_tokens) | _messages(model, pair, image)
            if number < 0:
                continue
            for stage, taken_s in seconds.items():
                samples.setdefault(stage, []).append(taken_s)
            if meter is not None:
                time.sleep(BETWEEN_S)
                if (energy := meter.energy(begin_s, end_s)) is not None:
                    energies.append(energy.energy_j)
                    source, scope = energy.source, energy.scope
        if meter is not None and not energies:
            no_energy = f"answers are too short for {meter.source}"
    if "decode" not in samples:
        raise ModelError(f"{model_name} never generated a second token: raise --tokens or use other frames")
    return Profile(
        name=name,
        model=model_name,
        parameters=model.parameters,
        options=runs,
        machine=_machine(),
        measured_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        image_px=sorted({open_image(pair.image).size for pair in pairs[:repeats]}),
        stages={stage: _stage(values) for stage, values in samples.items()},
        energy=_energy(energies, idle_w, source, scope) if energies else None,
        no_energy=None if energies else no_energy,
        throttled=_throttled(),
    )


def _stages(answer: Any, opened_s: float, max_new_tokens: int) -> dict[str, float]:
    timings = answer.timings
    stages = {
        "preprocess": opened_s + timings.preprocess_s,
        "vision": timings.vision_s,
        "prefill": timings.prefill_s,
    }
    further = further_tokens(len(answer.token_ids), max_new_tokens)
    return stages | ({"decode": timings.decode_s / further} if further else {})


def _messages(model: Any, pair: Any, opened: Any) -> dict[str, float]:
    """Return the seconds for finding regions, for packing a message of them, and for reducing a frame."""
    from nodes.onboard.layout import Layout
    from nodes.onboard.message import make_message  # numpy
    from nodes.onboard.stages import StagedAnswer
    from nodes.policies import SendReduced, SendRegions

    layout = Layout()
    scores = [1.0 + 1.0 / (1 + index) for index in range(layout.rows * layout.columns)]
    regions = SendRegions(pair.image.stat().st_size // 3)
    begin_s = time.monotonic()
    make_message(SendReduced(2), lambda: open_image(pair.image), lambda: scores, layout)
    reduced_s = time.monotonic()
    make_message(regions, lambda: opened, lambda: scores, layout)
    seconds = {"reduce": reduced_s - begin_s, "pack": time.monotonic() - reduced_s}
    with suppress(ValueError):  # a family whose attention cannot be mapped sends no regions
        staged = StagedAnswer(model, opened, pair.prompt, layout, 1)
        begin_s = time.monotonic()
        staged.attention()
        seconds["attend"] = time.monotonic() - begin_s
    return seconds


def _meter(stack: ExitStack, sensor: I2cPowerSensor | None) -> tuple[Any, float, str | None]:
    """Return (energy meter or None, idle power in watts with the model loaded, reason for no meter)."""
    from nodes.sensors.energy import EnergyMeter  # only here
    from nodes.sensors.reading import SensorError
    from nodes.sensors.search import find_power_sensor

    try:
        meter = stack.enter_context(EnergyMeter(find_power_sensor(requested=sensor)))
        return meter, meter.idle(IDLE_S), None
    except SensorError as error:
        return None, 0.0, str(error)


def _energy(values: Sequence[float], idle_w: float, source: str, scope: str) -> AnswerEnergy:
    return AnswerEnergy(
        p50_j=percentile(values, 50), p95_j=percentile(values, 95),
        count=len(values), idle_w=idle_w, source=source, scope=scope,
    )  # fmt: skip


def _stage(values: Sequence[float]) -> Stage:
    return Stage(p50_s=percentile(values, 50), p95_s=percentile(values, 95), count=len(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile, interpolated linearly between the sorted values, as NumPy does by default."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _cold_start_s(model_name: str, image: Path, options: ModelOptions) -> float:
    """Return the seconds from the start of a new process to its first answer."""
    command = [sys.executable, "-m", "nodes.profile", model_name, "--once", str(image)]
    command += command_line_of(options)
    begin_s = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        printed = done.stderr.strip().splitlines() or ["no message"]
        raise ModelError(f"a cold start failed: {printed[-1]}")
    return float(json.loads(done.stdout)["answered_monotonic_s"]) - begin_s


def _once(model_name: str, image: Path, options: ModelOptions) -> None:
    from nodes.vlm.model import load_model  # torch

    model = load_model(model_name, options)
    model.answer(open_image(image), "What is this?", max_new_tokens=2)
    print(json.dumps({"answered_monotonic_s": time.monotonic()}))


def _machine() -> dict[str, str]:
    """Describe the machine; the name of a board is in its device tree."""
    machine = {"host": platform.node(), "architecture": platform.machine(), "kernel": platform.release()}
    machine["processors"] = str(os.cpu_count())
    for path in (Path("/proc/device-tree/model"), Path("/sys/class/dmi/id/product_name")):
        try:
            machine["board"] = path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
            break
        except OSError:
            continue
    return machine


def _throttled() -> list[str] | None:
    from nodes.sensors.raspberry import throttling  # only here
    from nodes.sensors.reading import SensorError

    try:
        return list(throttling().since_boot)
    except SensorError:
        return None


def power_sensor(text: str) -> I2cPowerSensor:
    """Read a power sensor as `--sensor` has it.

    Args:
        text: CHIP:BUS:ADDRESS:OHM, e.g. ina219:1:0x40:0.1; the address may be decimal.

    Raises:
        argparse.ArgumentTypeError: the text does not name a sensor.
    """
    try:
        chip, bus, address, shunt_ohm = text.split(":")
        fields = {"chip": chip, "bus": int(bus), "address": int(address, 0), "shunt_ohm": float(shunt_ohm)}
    except ValueError:
        message = f"{text!r} is not CHIP:BUS:ADDRESS:OHM, e.g. ina219:1:0x40:0.1"
        raise argparse.ArgumentTypeError(message) from None
    try:
        return I2cPowerSensor.model_validate(fields)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(first_problem(error, I2cPowerSensor)) from None


def parser() -> argparse.ArgumentParser:
    """Return the command-line parser."""
    made = argparse.ArgumentParser(
        prog="python -m nodes.profile",
        description="Measure the time of each stage of an answer on this machine, and its energy.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("model", metavar="MODEL", help="folder or hub name of an image-text-to-text model")
    made.add_argument(
        "-o", "--output", type=Path, metavar="FILE", default=Path("profile.json"),
        help="profile to write (default: profile.json)",
    )  # fmt: skip
    made.add_argument(
        "--name", default=platform.node() or "board", help="name of the machine (default: its host name)"
    )
    made.add_argument(
        "--data", default=_SHIPPED / "data/first-light", metavar="DIR",
        help="folder of frames and prompts (default: the ones shipped with the package)",
    )  # fmt: skip
    made.add_argument("--repeats", type=int, default=20, metavar="N", help="answers to measure (default: 20)")
    made.add_argument(
        "--cold-starts", type=int, default=3, metavar="N", help="processes to start from cold (default: 3)"
    )
    made.add_argument(
        "--sensor", type=power_sensor, metavar="CHIP:BUS:ADDRESS:OHM",
        help="read power from an ina219 or ina226 on an I2C bus, e.g. ina219:1:0x40:0.1 for a shunt of "
        "0.1 ohm (default: search for a sensor with a driver)",
    )  # fmt: skip
    made.add_argument(
        "--models", type=Path, metavar="DIR", help="folder to look for MODEL in, as a board's agent does"
    )
    add_model_options(made, tokens=MAX_NEW_TOKENS)
    made.add_argument("--once", type=Path, metavar="IMAGE", help=argparse.SUPPRESS)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the profile and return the exit status."""
    options = parser().parse_args(arguments)
    try:
        runs = model_options_of(options)
        if options.once is not None:
            _once(options.model, options.once, runs)
            return 0
        if options.repeats < 1 or options.cold_starts < 0 or options.tokens < 2:
            raise ConfigError("--repeats must be 1 or more, --cold-starts 0 or more, --tokens 2 or more")
        check_output(options.output)
        profile = measure_profile(
            str(model_folder(options.model, options.models)), name=options.name, data=options.data,
            repeats=options.repeats, cold_starts=options.cold_starts, options=runs, sensor=options.sensor,
        )  # fmt: skip
        write_atomically(options.output, profile.model_dump_json(indent=2) + "\n")
    except ValueError as error:  # of models, images, data and options: the user can fix these
        print(f"profile: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(f"profile: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    stream = sys.stderr if is_stdout(options.output) else sys.stdout
    for line in (*lines(profile), f"written to {options.output}"):
        print(line, file=stream)
    return 0


def lines(profile: Profile) -> list[str]:
    """Return a profile as lines of text."""
    table = [f"{'stage':12} {'p50':>12} {'p95':>12} {'n':>4}"]
    table += [
        f"{name:12} {stage.p50_s * 1e3:9.2f} ms {stage.p95_s * 1e3:9.2f} ms {stage.count:4}"
        for name, stage in profile.stages.items()
    ]
    if (energy := profile.energy) is not None:
        table.append(
            f"energy       {energy.p50_j:10.2f} J {energy.p95_j:10.2f} J {energy.count:4}  above idle at "
            f"{energy.idle_w:.2f} W; {energy.source}; {energy.scope}"
        )
    else:
        table.append(f"energy       not measured: {profile.no_energy}")
    if profile.throttled:
        table.append(f"throttled since boot: {', '.join(profile.throttled)}")
    return table


if __name__ == "__main__":
    raise SystemExit(main())
