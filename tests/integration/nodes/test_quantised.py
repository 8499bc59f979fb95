"""The shipped compact model with quantised weights, as `quantisation` of a node's model options loads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.servers.process import fetched

pytestmark = pytest.mark.online
ASKS = """
import json

from nodes.contract.models.options import ModelOptions
from nodes.data import FIRST_LIGHT
from nodes.data.pairs import read_pairs
from nodes.models import COMPACT
from nodes.vlm.image import open_image
from nodes.vlm.model import load_model

pairs = read_pairs(FIRST_LIGHT)[1:6:4]
answers = {}
for quantisation in (None, "int8", "nf4"):
    model = load_model(COMPACT, options=ModelOptions(quantisation=quantisation, model_threads=1))
    told = [model.answer([open_image(pair.image)], pair.prompt, max_new_tokens=8) for pair in pairs]
    answers[quantisation or "none"] = [(answer.text, answer.confidence) for answer in told]
print(json.dumps(answers))
"""


def test_quantised_weights_answer_nearly_the_same(tmp_path: Path) -> None:
    packages = fetched(tmp_path / "packages", "bitsandbytes", (), ("bitsandbytes", "accelerate"))
    path = f"{packages}{os.pathsep}{ROOT}"
    done = subprocess.run(
        [sys.executable, "-c", ASKS],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    whole = answers.pop("none")
    for quantisation, told in answers.items():
        assert [text for text, _ in told] == [text for text, _ in whole], quantisation
        assert told != whole, f"{quantisation} has the same confidence: nothing is quantised"
        assert [c for _, c in told] == pytest.approx([c for _, c in whole], abs=0.1), quantisation
