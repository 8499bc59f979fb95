"""What the command lines of the lab have in common: exit statuses, and gates as a table and as JSON."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

import pytest

from nodes.lab.command_line import command_parser, run_subcommand, show_gates
from nodes.lab.eo_mini.gates import Gate
from nodes.lab.eo_mini_2.gates import Gate as SampledGate

MET, FAILED = Gate("frames", "128", "128", True), Gate("blind", "44 %", "40 %", False)


def test_gates_are_shown_and_one_that_fails_is_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_gates([asdict(MET)], as_json=False) == 0
    shown = capsys.readouterr().out
    assert "required" in shown and "passed" in shown and "sample" not in shown
    assert show_gates([asdict(MET), asdict(FAILED)], as_json=True) == 1
    assert [gate["passed"] for gate in json.loads(capsys.readouterr().out)] == [True, False]
    sampled = SampledGate("area", "1", "2", "240 frames", False)
    assert show_gates([asdict(sampled)], as_json=False) == 1
    shown = capsys.readouterr().out
    assert "sample" in shown and "240 frames" in shown and "FAILED" in shown


def test_errors_of_the_input_are_one_line_and_others_are_raised(capsys: pytest.CaptureFixture[str]) -> None:
    def run(options: argparse.Namespace) -> int:
        raise {"input": ValueError, "program": RuntimeError}[options.fault]("it broke")

    parser = command_parser("made_up", "Does nothing.", "examples:\n  none")
    parser.add_argument("fault")
    parser.set_defaults(run=run)
    assert parser.prog == "python -m nodes.lab.made_up" and "examples:\n  none" in parser.format_help()
    assert run_subcommand(parser, ["input"], (ValueError,)) == 2
    assert capsys.readouterr().err == "error: it broke\n"
    with pytest.raises(RuntimeError):
        run_subcommand(parser, ["program"], (ValueError,))
