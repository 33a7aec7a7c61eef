"""Predicts class maps of whole images. Used by all entry points.

All modes share one code path: the network predicts one or several TTA views of an image (ratio, mirrored or not), each
as a whole or with a sliding window, and the class probabilities of the views are averaged. All of this happens on the
network's device; only the class map is copied to the host.
"""

from itertools import product
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from ocrnet.config import Config
from ocrnet.errors import UserError
from ocrnet.inference.engines import Engine
from ocrnet.inference.logit_arrays import DeviceLogits, HostLogits
from ocrnet.inference.outputs import NetworkOutputs
from ocrnet.inference.preprocessing import input_size, preprocess, window_slices
from ocrnet.inference.tta import TTAView, tta_views
from ocrnet.models.resize import resize
from ocrnet.runtime import device


class Predictor:
    """Predicts class maps of images of any size in the mode of `config.eval`.

    Memory: the logits of one batch at image size, a few times that if views are averaged.

    Args:
        compile_first: in graph mode, compile the first size immediately; False for a few images of any size.
        engine: an `engines.Engine` that replaces MindSpore.
    """

    def __init__(
        self, network: nn.Cell, config: Config, compile_first: bool = True, engine: Engine | None = None
    ) -> None:
        self.network = network
        self.config = config
        self.views = tta_views(config.eval)
        on_cpu = ms.get_context("device_target") == "CPU"
        self._runs_here = engine is None and on_cpu
        order = list(range(len(config.data.classes)))  # of the classes in a mirrored image
        for one, other in config.data.flip_pairs:
            order[one], order[other] = other, one
        self._mirrored_order = order
        self._free = device.available_memory()  # before predictions, because MindSpore keeps their memory
        self.arrays: HostLogits | DeviceLogits = HostLogits() if engine or on_cpu else DeviceLogits()
        self.outputs = engine or NetworkOutputs(network, config, compile_first)

    def __call__(self, images: list[np.ndarray]) -> np.ndarray:
        """(H, W, 3) uint8 RGB images of one size to (N, H, W) uint8 classes."""
        self.network.set_train(False)
        if len(self.views) > 1:
            return self.arrays.largest(self.probabilities(images))
        if self.config.eval.window:
            return self.arrays.largest(self.logits(images, self.views[0]))
        return self.outputs.classes(self._preprocess(images, self.views[0]), images[0].shape[:2])

    def score(self, images: list[np.ndarray], labels: np.ndarray) -> tuple[np.ndarray, float]:
        """Predict the classes and compute the cross entropy with the labels.

        Args:
            images: (H, W, 3) uint8 RGB images of one size.
            labels: (N, H, W) uint8 class indices, 255 for ignored pixels.

        Returns:
            (N, H, W) uint8 classes, and the sum of the cross entropies of the pixels: of the mean probabilities if
            there are several views; NaN from an engine, which returns the classes only.
        """
        self.network.set_train(False)
        if len(self.views) == 1 and not self.config.eval.window:
            return self.outputs.score(self._preprocess(images, self.views[0]), labels)
        if len(self.views) == 1:
            values = self.logits(images, self.views[0])
            probabilities = self.arrays.softmax(values)
        else:
            values = probabilities = self.probabilities(images)
        return self.arrays.largest(values), self.arrays.cross_entropy(probabilities, labels)

    def check_memory(self, path: Path, size: tuple[int, int], images: int = 1) -> None:
        """Reject an image that does not fit into memory, before the system kills the process.

        Args:
            path: path of the image, for the message.
            size: (height, width) of the image.
            images: batch size.

        Raises:
            UserError: the minimum memory is more than was free when this predictor was created.
        """
        needed = images * self._least_memory(size)
        if self._free is not None and needed > self._free:
            fixes = [f"lower eval.batch_size={images}"] if images > 1 else []
            fixes += [] if self.config.eval.window else ["set eval.window=[512,1024]"]
            raise UserError(
                f"{path}: {size[1]} x {size[0]} pixels need {needed / 1e9:.1f} GB of memory or more, "
                f"{self._free / 1e9:.1f} GB are free: {', '.join([*fixes, 'or cut it into tiles'])}"
            )

    def _least_memory(self, size: tuple[int, int]) -> int:
        """Returns the minimum memory in bytes: the input, plus the larger of the network and the logits at full size.

        Measured on a CPU in float32 at 512 x 1024 and 1024 x 2048 pixels, the peak is 1.0 to 1.2 times this for HRNet
        and 1.8 times for ResNet, whose dilated convolutions need more.
        """
        config = self.config
        sizes = [input_size(size, config.data, view.ratio) for view in self.views]
        largest = max(height * width for height, width in sizes)
        at_once = min(largest, config.eval.window[0] * config.eval.window[1]) if config.eval.window else largest
        copies = 8 if config.eval.window or len(self.views) > 1 else 6  # of 4 bytes; not all are full copies
        logits = copies * len(config.data.classes) * max(largest if config.eval.window else 0, size[0] * size[1])
        network = 0
        if self._runs_here:
            stride = 4 if self.network.concat_maps else 8
            channels = sum(self.network.backbone.out_channels) + 4 * config.model.head_channels
            network = at_once * (200 + 4 * channels // stride**2)
        return 12 * largest + max(network, logits)

    def probabilities(self, images: list[np.ndarray]) -> np.ndarray | Tensor:
        """Returns (N, classes, H, W) float32: softmax over the classes, averaged over the views.

        A NumPy array on the CPU, a tensor on an accelerator.
        """
        self.network.set_train(False)
        size = images[0].shape[:2]
        shape = (len(images), len(self.config.data.classes), *size)
        zeros = self.arrays.zeros if self.config.eval.window else self.outputs.zeros
        sums = {mirrored: zeros(shape) for mirrored in {view.mirrored for view in self.views}}
        for view in self.views:
            batch = self._preprocess(images, view)
            if self.config.eval.window:
                sums[view.mirrored] += self.arrays.softmax(self._sliding_window(batch, size))
            else:
                sums[view.mirrored] = self.outputs.add_probabilities(batch, sums[view.mirrored])
        total = self.arrays.take(sums[False])
        if True in sums:
            total = total + self.arrays.mirror(self.arrays.take(sums[True]), self._mirrored_order)
        return self.arrays.divide(total, np.float32(len(self.views)))

    def logits(self, images: list[np.ndarray], view: TTAView) -> np.ndarray | Tensor:
        """Returns (N, classes, H, W) float32 logits of one view, mirrored back, left-right classes swapped back.

        A NumPy array on the CPU, a tensor on an accelerator.
        """
        images, size = self._preprocess(images, view), images[0].shape[:2]
        window = self.config.eval.window
        logits = self._sliding_window(images, size) if window else self.arrays.take(self.outputs.logits(images, size))
        return self.arrays.mirror(logits, self._mirrored_order) if view.mirrored else logits

    def _preprocess(self, images: list[np.ndarray], view: TTAView) -> np.ndarray:
        images = np.stack([preprocess(image, self.config.data, view.ratio) for image in images])
        return np.ascontiguousarray(images[..., ::-1]) if view.mirrored else images

    def _sliding_window(self, images: np.ndarray, size: tuple[int, int]) -> np.ndarray | Tensor:
        """Returns logits averaged over the windows that cover a pixel, resized to (height, width) `size`."""
        window, stride = self.config.eval.window, self.config.eval.stride
        total = self.arrays.zeros((len(images), len(self.config.data.classes), *images.shape[2:]))
        count = np.zeros(images.shape[2:], np.float32)
        for rows, columns in product(*map(window_slices, images.shape[2:], window, stride)):
            part = np.ascontiguousarray(images[..., rows, columns])
            total[..., rows, columns] += self.arrays.take(self.outputs.logits(part, part.shape[2:]))
            count[rows, columns] += 1
        mean = self.arrays.divide(total, count)
        if mean.shape[2:] == size:
            return mean
        mean = mean if isinstance(mean, Tensor) else Tensor(mean)
        return self.arrays.take(resize(mean, size, "bilinear", self.config.model.align_corners))
