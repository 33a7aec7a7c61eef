"""OCRNet: a backbone, an auxiliary head and an OCR head."""

import mindspore as ms
from mindspore import Tensor, float32, nn, ops

from ocrnet.config import ModelConfig
from ocrnet.models.heads import FCNHead, OCRHead
from ocrnet.models.hrnet import HRNet
from ocrnet.models.layers import BatchNorm2d, has_matrices, init_weights, resize
from ocrnet.models.resnet import ResNet


class OCRNet(nn.Cell):
    """Maps normalised images (N, 3, H, W) to (main logits, auxiliary logits), both (N, classes, h, w) float32.

    A backbone has `out_channels` and returns four feature maps. Those of HRNet are resized to the size of the first and
    concatenated, and both heads read the result (h = H/4). With ResNet, the auxiliary head reads the third feature map
    and the OCR head the last (h = H/8).

    With `separate_maps`, the heads of an HRNet read the list of maps, and their first convolutions need not resize all
    of them (see `MultiScaleConv2d`). That is for float32 on a CPU: it has not been measured on accelerators, and low
    precision would resize in low precision.
    """

    def __init__(self, config: ModelConfig, num_classes: int) -> None:
        super().__init__()
        self.concat_maps = config.backbone.startswith("hrnet")
        if self.concat_maps:
            self.backbone = HRNet(
                config.backbone, config.fuse, config.align_corners, config.stem_relu, config.stride_padding
            )
            aux_in = ocr_in = sum(self.backbone.out_channels)
        else:
            self.backbone = ResNet(config.backbone)
            aux_in, ocr_in = self.backbone.out_channels[2:]
        self.align_corners = config.align_corners
        self.separate_maps = ms.get_context("device_target") == "CPU"
        self.aux_head = FCNHead(aux_in, num_classes, config)
        self.ocr_head = OCRHead(ocr_in, num_classes, config)
        for head in (self.aux_head.conv, self.ocr_head.pixels, self.ocr_head.attention):
            init_weights(head)
        for _, cell in self.cells_and_names():
            if type(cell) is nn.BatchNorm2d:
                cell.__class__ = BatchNorm2d  # mindcv's blocks create nn.BatchNorm2d

    def construct(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.backbone(images)
        if self.concat_maps:
            features = maps
            if not (self.separate_maps and has_matrices(images.shape)):
                size = maps[0].shape[2:]
                maps = [maps[0]] + [resize(x, size, "bilinear", self.align_corners) for x in maps[1:]]
                features = ops.cat(maps, axis=1)
            auxiliary = self.aux_head(features)
            main = self.ocr_head(features, auxiliary)
        else:
            auxiliary = self.aux_head(maps[2])
            main = self.ocr_head(maps[3], auxiliary)
        return main.astype(float32), auxiliary.astype(float32)
