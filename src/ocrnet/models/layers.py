"""Layers shared by the backbones and heads."""

import math

import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import Normal, initializer
from numpy.random import Generator, Philox


class BatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d without the support of other shapes, which takes a tenth of the compilation time."""

    def construct(self, x: Tensor) -> Tensor:
        if self.training and self.use_batch_statistics is None:
            return self.bn_train(x, self.gamma, self.beta, self.moving_mean, self.moving_variance)[0]
        return self.bn_infer(x, self.gamma, self.beta, self.moving_mean, self.moving_variance)[0]


class ConvBNReLU(nn.Cell):
    """Convolution ("same" padding), BatchNorm, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, has_bias: bool = False, norm_eps: float = 1e-5
    ) -> None:
        super().__init__()
        same = dict(pad_mode="pad", padding=kernel_size // 2)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, has_bias=has_bias, bias_init="zeros", **same)
        self.bn = nn.BatchNorm2d(out_channels, norm_eps)
        self.relu = nn.ReLU()

    def construct(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


def classifier(in_channels: int, num_classes: int) -> nn.Conv2d:
    """Create the final 1x1 convolution of a head, initialized from Normal(0, 0.01) as in the published heads."""
    return nn.Conv2d(in_channels, num_classes, 1, has_bias=True, weight_init=Normal(0.01), bias_init="zeros")


def init_weights(cell: nn.Cell) -> None:
    """Initialize every convolution of `cell` with the Kaiming (He) normal distribution, mode fan_out, as published."""
    for _, layer in cell.cells_and_names():
        if isinstance(layer, nn.Conv2d):
            out_channels, _, height, width = layer.weight.shape
            sigma = math.sqrt(2.0 / (out_channels * height * width))
            layer.weight.set_data(initializer(Normal(sigma), layer.weight.shape, layer.weight.dtype))


def pad_same(convolution: nn.Conv2d) -> None:
    """Change the padding of a convolution to "same", as MindSpore, TensorFlow and PaddlePaddle define it.

    The output has the size of the input divided by the stride, rounded up. An odd row or column of padding is at the
    bottom or right.
    """
    convolution.pad_mode, convolution.padding = "same", 0
    convolution.conv2d = ops.Conv2D(
        convolution.out_channels,
        convolution.kernel_size,
        pad_mode="same",
        stride=convolution.stride,
        dilation=convolution.dilation,
        group=convolution.group,
    )


def freeze(network: nn.Cell, part: str, norm: bool) -> None:
    """Freeze weights and BatchNorm statistics of `part` ("backbone", "none"); with `norm` all BatchNorm statistics."""
    for name, parameter in network.parameters_and_names():
        if part != "none" and name.startswith(f"{part}."):
            parameter.requires_grad = False
    for name, cell in network.cells_and_names():
        if isinstance(cell, nn.BatchNorm2d) and (norm or (part != "none" and name.startswith(f"{part}."))):
            cell.use_batch_statistics = False


class Dropout2d(nn.Cell):
    """Sets whole channels of (N, C, H, W) to 0 in training, each with probability `rate`, and scales the others.

    `nn.Dropout2d` uses a generator of the process, which restarts when a run resumes. Here `draw_dropout` sets the mask
    before each step; before its first call nothing is dropped.
    """

    def __init__(self, rate: float, channels: int, name: str) -> None:
        super().__init__()
        self.rate = rate
        self.channels = channels
        factors = Parameter(Tensor(np.ones((1, channels, 1, 1), np.float32)), f"{name}.factors", requires_grad=False)
        # not registered with the cell: the mask of a step is no weight and does not belong in a checkpoint
        object.__setattr__(self, "factors", factors)

    def construct(self, x: Tensor) -> Tensor:
        if self.training and self.rate > 0:
            return x * self.factors.astype(x.dtype)
        return x


def dropout_layers(network: nn.Cell) -> list[Dropout2d]:
    """Returns the dropout layers of `network` with rate > 0."""
    return [cell for _, cell in network.cells_and_names() if isinstance(cell, Dropout2d) and cell.rate > 0]


def draw_dropout(layers: list[Dropout2d], seed: int, samples: range) -> None:
    """Draw the dropout masks of the next step.

    As in the data pipeline, the random numbers depend only on the seed and the sample number, not on the rank or on
    interruptions.

    Args:
        samples: numbers of the samples in the batch.
    """
    if not layers:
        return
    # keys that the data pipeline never uses: it uses keys below 2**62 and from 2**63 on
    generators = [Generator(Philox(key=np.array([seed, 2**62 + number], np.uint64))) for number in samples]
    for layer in layers:
        kept = np.stack([generator.random(layer.channels) >= layer.rate for generator in generators])
        factors = (kept / (1 - layer.rate)).astype(np.float32)[:, :, None, None]
        layer.factors.set_data(Tensor(factors), slice_shape=True)
