"""Row-by-row results that do not depend on how many rows were asked for."""

from collections.abc import Callable

import torch
from torch import Tensor

ROWS = 16


def in_blocks(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Applies a row-wise function to equally long inputs: in blocks of exactly `ROWS` rows on a CPU, else in one go.

    A CPU's matrix kernels sum in an order that depends on the number of rows, so the same image in a batch of 7
    and of 50 would differ in the last bits. At a fixed number of rows they do not (tests/core/test_blocks.py);
    the last block is filled up with copies of its last row, whose results are dropped.
    """
    rows = len(inputs[0])
    if inputs[0].device.type != "cpu" or rows == 0:
        return function(*inputs)
    order = torch.arange(rows + (-rows) % ROWS).clamp(max=rows - 1)
    blocks = [function(*(value[part] for value in inputs)) for part in order.split(ROWS)]
    return torch.cat(blocks)[:rows]
