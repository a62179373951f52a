"""Flows on a second device that refuses what a GPU refuses: nothing is left behind on the CPU."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.flows import FLOWS

TESTS = Path(__file__).parent
REFUSED = {
    "torch.zeros(3, device=THERE) + torch.zeros(3)": "tensors on elsewhere and on the CPU",
    "torch.zeros(3, device=THERE).masked_fill(torch.ones(3).bool(), 1)": "tensors on elsewhere and on the CPU",
    "torch.zeros(3)[torch.tensor([1], device=THERE)]": "an index on elsewhere",
    "torch.randn(3, device=THERE, generator=torch.Generator())": "the generator is of another device",
    "torch.zeros(3, device=THERE).numpy()": ".numpy() is not supported",
}
TAKEN = {
    "torch.rand(3, device=THERE, generator=torch.Generator(THERE).manual_seed(0)).device": "elsewhere:0",
    "(torch.ones(3, device=THERE) * 2 + torch.tensor(1)).tolist()": "[3.0, 3.0, 3.0]",
    "torch.arange(3, device=THERE)[[2, 0]].cpu().numpy()": "[2 0]",
    "torch.zeros(3, device=THERE).copy_(torch.ones(3)).device": "elsewhere:0",
    "torch.nn.Linear(2, 1).to(THERE)(torch.ones(1, 2, device=THERE)).sum().item() != 0": "True",
}


def test_the_device_refuses_what_a_gpu_refuses_and_computes() -> None:
    lines = ["import torch", "from support.elsewhere import Device, THERE", "with Device():"]
    for code in TAKEN:
        lines += [f"    print({code})"]
    for code in REFUSED:
        lines += [
            "    try:",
            f"        print('TAKEN', {code})",
            "    except Exception as error:",
            "        print(error)",
        ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, cwd=TESTS)
    told = done.stdout.splitlines()
    assert told[: len(TAKEN)] == list(TAKEN.values()), done.stderr
    assert len(told) == len(TAKEN) + len(REFUSED)
    for line, why in zip(told[len(TAKEN) :], REFUSED.values(), strict=True):
        assert why in line


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "support.flows"], capture_output=True, text=True, cwd=TESTS)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_is_the_cpus(found: dict[str, Any], name: str) -> None:
    """Up to a batch's rounding: on a CPU rows are computed sixteen at a time."""
    assert "error" not in found[name], found[name]["error"]
    assert found[name]["elsewhere"] == pytest.approx(found[name]["cpu"], rel=1e-4, abs=0.02)
    assert len(set(found[name]["cpu"])) > 1 or name == "score"
