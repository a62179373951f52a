"""All that takes a device, on a second device that refuses what a GPU refuses: nothing is left behind on the CPU."""

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


def there(code: str) -> subprocess.CompletedProcess[str]:
    lines = [
        "import torch",
        "from support.elsewhere import Device, THERE",
        "with Device():",
        f"    print({code})",
    ]
    return subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, cwd=TESTS)


@pytest.mark.parametrize(("code", "why"), REFUSED.items())
def test_the_device_refuses_what_a_gpu_refuses(code: str, why: str) -> None:
    done = there(code)
    assert done.returncode and why in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("code", "value"), TAKEN.items())
def test_the_device_computes(code: str, value: str) -> None:
    assert there(code).stdout.strip() == value


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
