"""HRNet (Wang et al., «Deep High-Resolution Representation Learning for Visual Recognition», 2019).

Uses mindcv's blocks, stage layout and parameter names, so that its ImageNet checkpoints load by name. Five differences:
the fuse step upsamples as published (mindcv uses nearest neighbours in float16), the first ReLU of the stem is
optional, so is the padding of the convolutions with stride 2, the output is the list of the four branches, and there is
no classification head.
"""

from typing import ClassVar

from mindcv.models import hrnet as mindcv_hrnet
from mindspore import Tensor, nn

from ocrnet.models.layers import init_weights, pad_same
from ocrnet.models.resize import resize

DEPTHS = {
    # name: (width, blocks of stage 1, blocks per branch, modules of stages 2, 3, 4)
    "hrnet_tiny": (16, 1, 1, (1, 1, 1)),  # not published: for tests and laptops
    "hrnet_w18_small": (18, 2, 2, (1, 3, 2)),
    "hrnet_w18": (18, 4, 4, (1, 4, 3)),
    "hrnet_w32": (32, 4, 4, (1, 4, 3)),
    "hrnet_w48": (48, 4, 4, (1, 4, 3)),
    "hrnet_w64": (64, 4, 4, (1, 4, 3)),
}


def stage_tables(name: str) -> dict[str, dict]:
    """Returns mindcv's stage configuration for a key of DEPTHS."""
    width, first_blocks, blocks, modules = DEPTHS[name]
    tables = {
        "stage1": dict(num_modules=1, num_branches=1, block="BOTTLENECK", num_blocks=[first_blocks], num_channels=[64])
    }
    for branches, num_modules in zip((2, 3, 4), modules, strict=True):
        tables[f"stage{branches}"] = dict(
            num_modules=num_modules,
            num_branches=branches,
            block="BASIC",
            num_blocks=[blocks] * branches,
            num_channels=[width * 2**branch for branch in range(branches)],
        )
    return tables


class BasicBlock(mindcv_hrnet.BasicBlock):
    """mindcv's BasicBlock without the in-place addition, which cannot be exported."""

    def construct(self, x: Tensor) -> Tensor:
        shortcut = x if self.down_sample is None else self.down_sample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + shortcut)


class Bottleneck(mindcv_hrnet.Bottleneck):
    """mindcv's Bottleneck without the in-place addition, which cannot be exported."""

    def construct(self, x: Tensor) -> Tensor:
        shortcut = x if self.down_sample is None else self.down_sample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.bn3(self.conv3(out)) + shortcut)


class HRModule(mindcv_hrnet.HRModule):
    """Parallel branches, followed by the fuse step: each branch becomes the sum of all branches, resized to its size.

    If a side of a branch is odd, the next branch has half of it, rounded up, and upsampling by 2 overshoots.
    mmsegmentation and sssegmentation upsample bilinearly by the factor between the resolutions, then resize to the size
    of the branch. HRNet-OCR (`align_corners`), PaddleSeg (bilinear_once) and mindspore-lab (nearest) resize directly to
    the size of the branch.
    """

    def __init__(self, *args, fuse: str, align_corners: bool) -> None:
        super().__init__(*args)
        self.fuse = "nearest" if fuse == "nearest" else "bilinear"
        self.align_corners = align_corners
        self.two_steps = fuse == "bilinear" and not align_corners

    def construct(self, x: list[Tensor]) -> list[Tensor]:
        branches = [self.branches[i](x[i]) for i in range(self.num_branches)]
        fused = []
        for i in range(self.num_branches):
            total = branches[0] if i == 0 else self.fuse_layers[i][0](branches[0])
            for j in range(1, self.num_branches):
                part = branches[j]
                if j != i:
                    part = self.fuse_layers[i][j](part)
                if j > i:
                    height, width = part.shape[2:]
                    factor = 2 ** (j - i)
                    through = (factor * height, factor * width) if self.two_steps else None
                    part = resize(part, branches[i].shape[2:], self.fuse, self.align_corners, through)
                total = total + part
            fused.append(self.relu(total))
        return fused


class HRNet(mindcv_hrnet.HRNet):
    """Maps images (N, 3, H, W) to four feature maps with C, 2C, 4C, 8C channels at 1/4, 1/8, 1/16, 1/32 resolution.

    Args:
        name: a key of DEPTHS.
        fuse: resize mode of the fuse step: bilinear (published), bilinear_once (PaddleSeg) or nearest (mindspore-lab).
        align_corners: for the bilinear fuse step; True in HRNet-OCR.
        stem_relu: ReLU between the two convolutions of the stem; False in sssegmentation before 1.7.0.
        stride_padding: of the 3x3 convolutions with stride 2: symmetric, or same (PaddleSeg).
    """

    blocks_dict: ClassVar = {"BASIC": BasicBlock, "BOTTLENECK": Bottleneck}

    def __init__(
        self,
        name: str,
        fuse: str = "bilinear",
        align_corners: bool = False,
        stem_relu: bool = True,
        stride_padding: str = "symmetric",
    ) -> None:
        self._fuse, self._align_corners = fuse, align_corners
        super().__init__(stage_tables(name))
        del self.classifier
        self.stem_relu = stem_relu
        width = DEPTHS[name][0]
        self.out_channels = tuple(width * 2**branch for branch in range(4))
        init_weights(self)
        if stride_padding == "same":
            for _, cell in self.cells_and_names():
                if isinstance(cell, nn.Conv2d) and cell.stride == (2, 2):
                    pad_same(cell)

    def _make_head(self, pre_stage_channels: list[int]) -> tuple[None, None, None]:
        return None, None, None  # mindcv's classification head

    def _make_stage(self, table: dict, num_inchannels: list[int], multi_scale_output: bool = True):
        modules = []
        for _ in range(table["num_modules"]):
            modules.append(
                HRModule(
                    table["num_branches"],
                    self.blocks_dict[table["block"]],
                    table["num_blocks"],
                    num_inchannels,
                    table["num_channels"],
                    fuse=self._fuse,
                    align_corners=self._align_corners,
                )
            )
            num_inchannels = modules[-1].num_inchannels
        return nn.SequentialCell(modules), num_inchannels

    def construct(self, x: Tensor) -> list[Tensor]:
        x = self.bn1(self.conv1(x))
        if self.stem_relu:
            x = self.relu(x)
        x = self.layer1(self.relu(self.bn2(self.conv2(x))))
        # a transition that changes a feature map or adds a branch reads the last feature map
        first = []
        for i in range(2):
            first.append(self.transition1[i](x) if self.transition1_flags[i] else x)
        second = self.stage2(first)
        maps = []
        for i in range(3):
            maps.append(self.transition2[i](second[-1]) if self.transition2_flags[i] else second[i])
        third = self.stage3(maps)
        maps = []
        for i in range(4):
            maps.append(self.transition3[i](third[-1]) if self.transition3_flags[i] else third[i])
        return self.stage4(maps)
