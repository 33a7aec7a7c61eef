"""ResNet (He et al., «Deep Residual Learning for Image Recognition», 2016) at output stride 8, for dense prediction.

Uses mindcv's bottleneck and parameter names. «V1c» replaces the 7x7 stem by three 3x3 convolutions, as mmsegmentation
and sssegmentation do; networks without it load mindcv's ImageNet weights.
"""

from mindspore import Tensor, nn

from ocrnet.models.hrnet import Bottleneck
from ocrnet.models.layers import init_weights

_DEPTHS = {
    # name: (blocks of layers 1 to 4, whether the stem is three 3x3 convolutions)
    "resnet50_d8": ((3, 4, 6, 3), False),
    "resnet101_d8": ((3, 4, 23, 3), False),
    "resnet50_v1c_d8": ((3, 4, 6, 3), True),
    "resnet101_v1c_d8": ((3, 4, 23, 3), True),
}
_STRIDES = (1, 2, 1, 1)
_DILATIONS = (1, 1, 2, 4)


class DilatedBottleneck(Bottleneck):
    """A bottleneck whose 3x3 convolution is dilated."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, dilation: int, down_sample: nn.Cell | None
    ) -> None:
        super().__init__(in_channels, channels, stride, down_sample=down_sample)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, pad_mode="pad", padding=dilation, dilation=dilation)


class MaxPoolAfterReLU(nn.Cell):
    """3x3 max pooling with stride 2 and padding 1 of values >= 0, for which padding with 0 is the same as with -inf.

    nn.MaxPool2d with pad_mode="pad" would be a MaxPool3DWithArgmax on every device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pad, self.pool = nn.Pad(((0, 0), (0, 0), (1, 1), (1, 1))), nn.MaxPool2d(3, 2)

    def construct(self, x: Tensor) -> Tensor:
        return self.pool(self.pad(x))


def _deep_stem() -> nn.SequentialCell:
    parts: list[nn.Cell] = []
    for in_channels, out_channels, stride in ((3, 32, 2), (32, 32, 1), (32, 64, 1)):
        parts.append(nn.Conv2d(in_channels, out_channels, 3, stride, pad_mode="pad", padding=1))
        parts += [nn.BatchNorm2d(out_channels), nn.ReLU()]
    return nn.SequentialCell(parts)


def _layer(in_channels: int, channels: int, blocks: int, stride: int, dilation: int) -> nn.SequentialCell:
    """Create the bottlenecks of a stage; the first has half the dilation (mmsegmentation's `contract_dilation`)."""
    out_channels = channels * Bottleneck.expansion
    down_sample = nn.SequentialCell(nn.Conv2d(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))
    cells = [DilatedBottleneck(in_channels, channels, stride, max(1, dilation // 2), down_sample)]
    cells += [DilatedBottleneck(out_channels, channels, 1, dilation, None) for _ in range(blocks - 1)]
    return nn.SequentialCell(cells)


class ResNet(nn.Cell):
    """Maps images (N, 3, H, W) to four feature maps of 256, 512, 1024, 2048 channels at 1/4, 1/8, 1/8, 1/8 resolution.

    Args:
        name: a key of _DEPTHS.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        blocks, self.deep_stem = _DEPTHS[name]
        if self.deep_stem:
            self.stem = _deep_stem()
            self.max_pool = MaxPoolAfterReLU()
        else:
            self.conv1 = nn.Conv2d(3, 64, 7, 2, pad_mode="pad", padding=3)
            self.bn1 = nn.BatchNorm2d(64)
            self.relu = nn.ReLU()
            self.max_pool = nn.MaxPool2d(3, 2, pad_mode="same")  # as in mindcv's training
        widths = (64, 128, 256, 512)
        self.out_channels = tuple(width * Bottleneck.expansion for width in widths)
        in_channels = (64, *self.out_channels)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            _layer(in_channels[i], widths[i], blocks[i], _STRIDES[i], _DILATIONS[i]) for i in range(4)
        )
        init_weights(self)

    def construct(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x) if self.deep_stem else self.relu(self.bn1(self.conv1(x)))
        first = self.layer1(self.max_pool(x))
        second = self.layer2(first)
        third = self.layer3(second)
        return [first, second, third, self.layer4(third)]
