"""OCRNet: a backbone, an auxiliary head and an OCR head."""

from mindspore import Tensor, float32, nn, ops

from ocrnet.config import ModelConfig
from ocrnet.models.heads import FCNHead, OCRHead
from ocrnet.models.hrnet import HRNet
from ocrnet.models.layers import resize, start_convolutions


class OCRNet(nn.Cell):
    """Images (N, 3, H, W), normalised, to (main logits, auxiliary logits), both (N, classes, H/4, W/4) float32.

    HRNet's four maps are brought to the size of the first and joined; both heads read the result.
    """

    def __init__(self, config: ModelConfig, num_classes: int) -> None:
        super().__init__()
        self.backbone = HRNet(config.backbone, config.fuse, config.align_corners)
        in_channels = sum(self.backbone.out_channels)
        self.align_corners = config.align_corners
        self.aux_head = FCNHead(
            in_channels,
            config.aux_channels or in_channels,
            num_classes,
            config.aux_kernel,
            config.dropout,
            config.conv_bias,
        )
        self.ocr_head = OCRHead(
            in_channels,
            num_classes,
            config.head_channels,
            config.key_channels,
            config.context_channels,
            config.context_kernel,
            config.dropout,
            config.conv_bias,
        )
        for head in (self.aux_head.conv, self.ocr_head.pixels, self.ocr_head.attention):
            start_convolutions(head)

    def construct(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.backbone(images)
        size = maps[0].shape[2:]
        features = ops.cat([maps[0]] + [resize(x, size, "bilinear", self.align_corners) for x in maps[1:]], axis=1)
        auxiliary = self.aux_head(features)
        main = self.ocr_head(features, auxiliary)
        return main.astype(float32), auxiliary.astype(float32)
