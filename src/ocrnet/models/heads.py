"""The two heads of OCRNet: an FCN head that predicts soft object regions and the OCR head that uses them.

Yuan, Chen, Wang: «Object-Contextual Representations for Semantic Segmentation», ECCV 2020, section 3.
"""

from mindspore import Tensor, float32, nn, ops

from ocrnet.config import ModelConfig
from ocrnet.models.layers import ConvBNReLU, Dropout2d, classifier


class FCNHead(nn.Cell):
    """Auxiliary head: (N, in, h, w) features to (N, classes, h, w) logits, which are the soft object regions.

    The features are a tensor or a list of maps; see `MultiScaleConv2d`.
    """

    def __init__(self, in_channels: int, num_classes: int, config: ModelConfig) -> None:
        super().__init__()
        channels = config.aux_channels or in_channels
        self.conv = ConvBNReLU(
            in_channels, channels, config.aux_kernel, config.conv_bias, config.head_norm_eps, config.align_corners
        )
        self.dropout = Dropout2d(config.aux_dropout, channels, "aux_head.dropout")
        self.classifier = classifier(channels, num_classes)

    def construct(self, features: Tensor | list[Tensor]) -> Tensor:
        return self.classifier(self.dropout(self.conv(features)))


# products with a transposed factor: on a CPU an explicit transpose of the pixels takes as long as the product
_matmul_transpose_a, _matmul_transpose_b = ops.BatchMatMul(transpose_a=True), ops.BatchMatMul(transpose_b=True)


def gather_regions(pixels: Tensor, regions: Tensor) -> Tensor:
    """Object region representations (paper, equation 3).

    Args:
        pixels: (N, C, h, w) pixel features.
        regions: (N, K, h, w) soft object regions, before the softmax.

    Returns:
        (N, C, K, 1): for each class the mean of the pixel features, weighted by a softmax over all pixels.
    """
    batch, channels, _, _ = pixels.shape
    classes = regions.shape[1]
    weights = ops.softmax(regions.astype(float32).reshape(batch, classes, -1), axis=2).astype(pixels.dtype)
    return _matmul_transpose_b(pixels.reshape(batch, channels, -1), weights).expand_dims(3)


class PixelRegionAttention(nn.Cell):
    """Attention of pixels to object regions (paper, equations 4 and 5), then concatenation of both (equation 6)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels, key_channels = config.head_channels, config.key_channels

        def convolution(in_channels: int, out_channels: int, kernel_size: int = 1) -> ConvBNReLU:
            return ConvBNReLU(in_channels, out_channels, kernel_size, config.attention_bias, config.head_norm_eps)

        self.query = nn.SequentialCell(convolution(channels, key_channels), convolution(key_channels, key_channels))
        self.key = nn.SequentialCell(convolution(channels, key_channels), convolution(key_channels, key_channels))
        self.value = convolution(channels, key_channels)
        self.out = convolution(key_channels, channels)
        self.join = convolution(2 * channels, config.context_channels, config.context_kernel)
        self.key_channels = key_channels

    def construct(self, pixels: Tensor, regions: Tensor) -> Tensor:
        """(N, C, h, w) pixels and (N, C, K, 1) regions to (N, out, h, w)."""
        batch, channels, _, _ = pixels.shape
        query = self.query(pixels).reshape(batch, self.key_channels, -1)  # N, c, hw
        key = self.key(regions).reshape(batch, self.key_channels, -1)  # N, c, K
        relation = ops.softmax(_matmul_transpose_a(query, key) * self.key_channels**-0.5, axis=-1)  # N, hw, K
        # The convolution of `out` is for each pixel's mean of the values. Both are linear, and the weights of a mean
        # sum to 1, so it is computed for the K values instead.
        value = self.out.conv(self.value(regions)).astype(relation.dtype).reshape(batch, channels, -1)  # N, C, K
        context = _matmul_transpose_b(value, relation).reshape(pixels.shape)
        return self.join(ops.cat((self.out.relu(self.out.bn(context)), pixels), axis=1))


class OCRHead(nn.Cell):
    """(N, in, h, w) features, as in `FCNHead`, and (N, classes, h, w) soft regions to (N, classes, h, w) logits."""

    def __init__(self, in_channels: int, num_classes: int, config: ModelConfig) -> None:
        super().__init__()
        self.pixels = ConvBNReLU(
            in_channels, config.head_channels, 3, config.conv_bias, config.head_norm_eps, config.align_corners
        )
        self.attention = PixelRegionAttention(config)
        self.dropout = Dropout2d(config.dropout, config.context_channels, "ocr_head.dropout")
        self.classifier = classifier(config.context_channels, num_classes)

    def construct(self, features: Tensor | list[Tensor], regions: Tensor) -> Tensor:
        pixels = self.pixels(features)
        context = gather_regions(pixels, regions)
        return self.classifier(self.dropout(self.attention(pixels, context)))
