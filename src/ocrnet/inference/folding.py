"""Folds each BatchNorm into the preceding convolution, for inference."""

from itertools import pairwise

import numpy as np
from mindspore import Parameter, Tensor, nn


def fold_batch_norm(network: nn.Cell) -> nn.Cell:
    """Fold BatchNorm in place with its running statistics. The network can no longer be trained."""
    for _, cell in network.cells_and_names():
        children = list(cell._cells.items())
        for (_, convolution), (name, norm) in pairwise(children):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                _fold(convolution, norm)
                cell._cells[name] = nn.Identity()
        if isinstance(cell, nn.SequentialCell):
            cell.cell_list = list(cell._cells.values())
    return network.set_train(False)


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    mean, variance, gamma, beta = (
        value.asnumpy().astype(np.float64) for value in (norm.moving_mean, norm.moving_variance, norm.gamma, norm.beta)
    )
    factor = gamma / np.sqrt(variance + norm.eps)
    weight = convolution.weight.asnumpy() * factor[:, None, None, None]
    before = convolution.bias.asnumpy() if convolution.has_bias else 0.0
    convolution.weight.set_data(Tensor(weight.astype(np.float32)))
    bias = Tensor(((before - mean) * factor + beta).astype(np.float32))
    convolution.has_bias, convolution.bias = True, Parameter(bias, convolution.weight.name[: -len("weight")] + "bias")
