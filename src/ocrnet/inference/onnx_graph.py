"""Converts the network to an ONNX graph.

MindSpore's exporter does not support bilinear resize. Here a method for each type of cell adds its nodes. Batch, height
and width of the input are fixed or dynamic.
"""

import numpy as np
from mindcv.models import hrnet as mindcv_hrnet
from mindspore import nn

from ocrnet.errors import UserError
from ocrnet.models.heads import FCNHead, OCRHead, PixelRegionAttention
from ocrnet.models.hrnet import BasicBlock, Bottleneck, HRModule, HRNet
from ocrnet.models.layers import ConvBNReLU, Dropout2d
from ocrnet.models.ocrnet import OCRNet
from ocrnet.models.resnet import MaxPoolAfterReLU, ResNet


def onnx_model(network: OCRNet, shape: tuple[int | None, int | None, int | None], argmax: bool):
    """Convert a network without BatchNorm (see `fold_batch_norm`) to an onnx.ModelProto.

    Input: `images` (N, 3, H, W) float32, normalised. Output at the size of the images: `logits` (N, classes, H, W)
    float32, or with `argmax` `classes` (N, H, W) uint8.

    Args:
        shape: N, H and W; None for dynamic.

    Raises:
        UserError: onnx is not installed.
    """
    try:
        from onnx import TensorProto, checker, helper
    except ImportError:
        raise UserError("ONNX needs a package that is not installed: in the clone, pip install '.[onnx]'") from None
    graph = _Graph(helper, halves_evenly=not any(side is None or side % 32 for side in shape[1:]))
    logits = graph.resize(graph.network(network, "images"), "images", network.align_corners)
    if argmax:
        logits = graph.add("Cast", graph.add("ArgMax", logits, axis=1, keepdims=0), to=TensorProto.UINT8)
    name, kind = ("classes", TensorProto.UINT8) if argmax else ("logits", TensorProto.FLOAT)
    graph.nodes[-1].output[0] = name
    batch, height, width = (side or free for side, free in zip(shape, ("batch", "height", "width"), strict=True))
    classes = network.ocr_head.classifier.out_channels
    outputs = [batch, height, width] if argmax else [batch, classes, height, width]
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, height, width])]
    output = [helper.make_tensor_value_info(name, kind, outputs)]
    whole = helper.make_graph(graph.nodes, "OCRNet", inputs, output, graph.weights)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="ocrnet")
    checker.check_model(model)
    return model


class _Graph:
    """Collects nodes and weights. Methods take and return tensor names.

    Args:
        halves_evenly: height and width are fixed multiples of 32, so each HRNet branch is exactly twice the next.
    """

    def __init__(self, helper, halves_evenly: bool) -> None:
        self.helper, self.nodes, self.weights = helper, [], []
        self.halves_evenly = halves_evenly

    def add(self, operator: str, *inputs: str, **attributes) -> str:
        output = f"{operator}_{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, values: np.ndarray | list) -> str:
        from onnx import numpy_helper

        values = np.asarray(values)
        self.weights.append(numpy_helper.from_array(values, f"constant_{len(self.weights)}"))
        return self.weights[-1].name

    def network(self, network: OCRNet, images: str) -> str:
        """Returns the main logits at the network's output resolution."""
        maps = self.cell(network.backbone, images)
        if not network.concat_maps:
            return self.ocr_head(network.ocr_head, maps[3], self.fcn_head(network.aux_head, maps[2]))
        resized = [self.resize(part, maps[0], network.align_corners) for part in maps[1:]]
        joined = self.add("Concat", maps[0], *resized, axis=1)
        return self.ocr_head(network.ocr_head, joined, self.fcn_head(network.aux_head, joined))

    def cell(self, cell: nn.Cell, x):
        """Any part of a backbone; lists of maps go through as lists."""
        if isinstance(cell, nn.SequentialCell):
            for part in cell:
                x = self.cell(part, x)
            return x
        if isinstance(cell, nn.Conv2d):
            return self.convolution(cell, x)
        if isinstance(cell, nn.ReLU):
            return self.add("Relu", x)
        if isinstance(cell, nn.Identity | mindcv_hrnet.IdentityCell | Dropout2d):
            return x
        if isinstance(cell, nn.MaxPool2d | MaxPoolAfterReLU):
            # "same" of a 3x3 window with stride 2 pads after the last row, as in TensorFlow
            pads = dict(pads=[1] * 4) if isinstance(cell, MaxPoolAfterReLU) else dict(auto_pad="SAME_UPPER")
            return self.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], **pads)
        if isinstance(cell, ConvBNReLU):
            return self.add("Relu", self.convolution(cell.conv, x))
        if isinstance(cell, BasicBlock | Bottleneck):
            return self.block(cell, x)
        if isinstance(cell, HRModule):
            return self.module(cell, x)
        if isinstance(cell, HRNet):
            return self.hrnet(cell, x)
        if isinstance(cell, ResNet):
            return self.resnet(cell, x)
        raise TypeError(f"no ONNX nodes for {type(cell).__name__}")

    def convolution(self, cell: nn.Conv2d, x: str) -> str:
        weights = [cell.weight, cell.bias] if cell.has_bias else [cell.weight]
        top, bottom, left, right = cell.padding if isinstance(cell.padding, tuple) else (cell.padding,) * 4
        pads = dict(pads=[top, left, bottom, right])
        if cell.pad_mode == "same" and cell.kernel_size != (1, 1):
            pads = dict(auto_pad="SAME_UPPER")
        how = dict(strides=cell.stride, dilations=cell.dilation, **pads)
        return self.add("Conv", x, *[self.constant(weight.asnumpy()) for weight in weights], **how)

    def block(self, cell: BasicBlock | Bottleneck, x: str) -> str:
        shortcut = x if cell.down_sample is None else self.cell(cell.down_sample, x)
        x = self.add("Relu", self.convolution(cell.conv1, x))
        x = self.convolution(cell.conv2, x)
        if isinstance(cell, Bottleneck):
            x = self.convolution(cell.conv3, self.add("Relu", x))
        return self.add("Relu", self.add("Add", x, shortcut))

    def module(self, cell: HRModule, maps: list[str]) -> list[str]:
        branches = [self.cell(branch, part) for branch, part in zip(cell.branches, maps, strict=True)]
        fused = []
        for i, own in enumerate(branches):
            total = None
            for j, part in enumerate(branches):
                if j != i:
                    part = self.cell(cell.fuse_layers[i][j], part)
                if j > i:
                    if cell.two_steps and not self.halves_evenly:
                        part = self.enlarge(part, 2 ** (j - i))
                    part = self.resize(part, own, cell.align_corners, cell.fuse)
                total = part if total is None else self.add("Add", total, part)
            fused.append(self.add("Relu", total))
        return fused

    def hrnet(self, cell: HRNet, x: str) -> list[str]:
        stem = (cell.conv1, cell.relu) if cell.stem_relu else (cell.conv1,)
        for part in (*stem, cell.conv2, cell.relu, cell.layer1):
            x = self.cell(part, x)
        maps = [x]
        for stage in (1, 2, 3):
            transitions = getattr(cell, f"transition{stage}")
            # a new branch, and in the first stage a changed one, reads the last feature map
            maps = [self.cell(part, maps[min(i, len(maps) - 1)]) for i, part in enumerate(transitions)]
            maps = self.cell(getattr(cell, f"stage{stage + 1}"), maps)
        return maps

    def resnet(self, cell: ResNet, x: str) -> list[str]:
        for part in (cell.stem,) if cell.deep_stem else (cell.conv1, cell.relu):
            x = self.cell(part, x)
        maps = [self.cell(cell.max_pool, x)]
        for layer in (cell.layer1, cell.layer2, cell.layer3, cell.layer4):
            maps.append(self.cell(layer, maps[-1]))
        return maps[1:]

    def fcn_head(self, cell: FCNHead, features: str) -> str:
        return self.convolution(cell.classifier, self.cell(cell.conv, features))

    def ocr_head(self, cell: OCRHead, features: str, regions: str) -> str:
        pixels = self.cell(cell.pixels, features)
        weights = self.add("Softmax", self.flat(regions), axis=2)
        context = self.add("MatMul", self.flat(pixels), self.add("Transpose", weights, perm=[0, 2, 1]))  # N, C, K
        context = self.add("Unsqueeze", context, self.constant([3]))
        return self.convolution(cell.classifier, self.attention(cell.attention, pixels, context))

    def attention(self, cell: PixelRegionAttention, pixels: str, regions: str) -> str:
        query = self.add("Transpose", self.flat(self.cell(cell.query, pixels)), perm=[0, 2, 1])  # N, hw, c
        key = self.flat(self.cell(cell.key, regions))  # N, c, K
        value = self.flat(self.cell(cell.out.conv, self.cell(cell.value, regions)))  # N, C, K; see PixelRegionAttention
        scale = self.constant(np.float32(cell.key_channels**-0.5))
        relation = self.add("Softmax", self.add("Mul", self.add("MatMul", query, key), scale), axis=2)
        context = self.add("MatMul", value, self.add("Transpose", relation, perm=[0, 2, 1]))
        shape = self.add("Concat", self.constant([0, 0]), self.add("Shape", pixels, start=2), axis=0)  # 0: unchanged
        context = self.cell(cell.out.relu, self.cell(cell.out.bn, self.add("Reshape", context, shape)))
        return self.cell(cell.join, self.add("Concat", context, pixels, axis=1))

    def flat(self, x: str) -> str:
        """(N, C, h, w) to (N, C, h * w)."""
        return self.add("Reshape", x, self.constant([0, 0, -1]))

    def enlarge(self, x: str, factor: int) -> str:
        """Resize bilinearly to `factor` times the height and width."""
        scales = self.constant(np.array([1, 1, factor, factor], np.float32))
        return self.add("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")

    def resize(self, x: str, like: str, align_corners: bool, mode: str = "bilinear") -> str:
        """Resize to the height and width of `like`."""
        sizes = self.add("Concat", self.add("Shape", x, end=2), self.add("Shape", like, start=2), axis=0)
        how = dict(mode="linear", coordinate_transformation_mode="align_corners" if align_corners else "half_pixel")
        if mode == "nearest":
            how = dict(mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
        return self.add("Resize", x, "", "", sizes, **how)
