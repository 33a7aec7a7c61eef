"""HRNet (Wang et al., «Deep High-Resolution Representation Learning for Visual Recognition», 2019).

mindcv's blocks, stage layout and parameter names, so that its ImageNet checkpoints load by name. Four things differ:
the fuse step enlarges as published (mindcv's does so with nearest neighbours in float16), the stem's first ReLU can be
left out, the four branches come out as they are, and there is no classification head.
"""

from typing import ClassVar

from mindcv.models import hrnet as mindcv_hrnet
from mindspore import Tensor, nn

from ocrnet.models.layers import init_weights, resize

DEPTHS = {
    # name: (width, blocks of stage 1, blocks a branch, modules of stages 2, 3, 4)
    "hrnet_tiny": (16, 1, 1, (1, 1, 1)),  # ours: for tests and for laptops
    "hrnet_w18_small": (18, 2, 2, (1, 3, 2)),
    "hrnet_w18": (18, 4, 4, (1, 4, 3)),
    "hrnet_w32": (32, 4, 4, (1, 4, 3)),
    "hrnet_w48": (48, 4, 4, (1, 4, 3)),
    "hrnet_w64": (64, 4, 4, (1, 4, 3)),
}


def stage_tables(name: str) -> dict[str, dict]:
    """mindcv's stage configuration of one of our names."""
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
    """mindcv's, without the in-place addition that cannot be exported."""

    def construct(self, x: Tensor) -> Tensor:
        shortcut = x if self.down_sample is None else self.down_sample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + shortcut)


class Bottleneck(mindcv_hrnet.Bottleneck):
    """mindcv's, without the in-place addition that cannot be exported."""

    def construct(self, x: Tensor) -> Tensor:
        shortcut = x if self.down_sample is None else self.down_sample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.bn3(self.conv3(out)) + shortcut)


class HRModule(mindcv_hrnet.HRModule):
    """Parallel branches, then every branch receives the sum of all, each brought to its size.

    Where a branch's side is odd, the next one has half of it, rounded up, and enlarging overshoots. mmsegmentation and
    sssegmentation enlarge bilinearly by the factor between the resolutions, then resize what overshoots; HRNet-OCR
    (`align_corners`) and mindspore-lab (nearest) resize to the branch's size at once.
    """

    def __init__(self, *args, fuse: str, align_corners: bool) -> None:
        super().__init__(*args)
        self.fuse = fuse
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
                    factor = 2 ** (j - i) if self.two_steps else 1
                    part = resize(part, branches[i].shape[2:], self.fuse, self.align_corners, factor)
                total = total + part
            fused.append(self.relu(total))
        return fused


class HRNet(mindcv_hrnet.HRNet):
    """Images (N, 3, H, W) to four maps of width C, 2C, 4C, 8C at 1/4, 1/8, 1/16, 1/32 resolution.

    Args:
        name: a key of the table above.
        fuse: bilinear (published) or nearest (mindspore-lab).
        align_corners: of the bilinear fuse; True in HRNet-OCR.
        stem_relu: between the two convolutions of the stem; False in sssegmentation before 1.7.0.
    """

    blocks_dict: ClassVar = {"BASIC": BasicBlock, "BOTTLENECK": Bottleneck}

    def __init__(self, name: str, fuse: str = "bilinear", align_corners: bool = False, stem_relu: bool = True) -> None:
        self._fuse, self._align_corners = fuse, align_corners
        super().__init__(stage_tables(name))
        del self.classifier
        self.stem_relu = stem_relu
        width = DEPTHS[name][0]
        self.out_channels = tuple(width * 2**branch for branch in range(4))
        init_weights(self)

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
        # a transition that changes its map, or adds a branch, reads the last one
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
