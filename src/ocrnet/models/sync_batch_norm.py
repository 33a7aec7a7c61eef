"""Synchronised BatchNorm over all ranks, as the published configs require."""

from typing import Literal

import mindspore as ms
from mindspore import Tensor, float32, nn, ops
from mindspore.ops.operations import _inner_ops as inner

from ocrnet.distributed import launcher


def convert_sync_batch_norm(network: nn.Cell, operator: Literal["mindspore", "collectives"] = "collectives") -> None:
    """Synchronise the statistics of every BatchNorm of `network` over all ranks, in place; keeps parameter names.

    Args:
        operator: what computes it on Ascend: MindSpore's operator, or `SyncBatchNorm`. MindSpore documents its operator
            for Ascend alone, so the other devices always use `SyncBatchNorm`.
    """
    ranks = launcher.ranks().size
    if ranks == 1:
        return
    own = operator == "collectives" or ms.get_context("device_target") != "Ascend"
    for _, cell in network.cells_and_names():
        if isinstance(cell, nn.BatchNorm2d):
            if own:
                cell.bn_train = SyncBatchNorm(cell.eps, cell.momentum)
            else:  # as in nn.SyncBatchNorm, which would change the parameter names
                cell.bn_train = inner.SyncBatchNorm(cell.eps, cell.momentum, "hccl_world_group", ranks)


class SyncBatchNorm(nn.Cell):
    """Replaces the operator in nn.BatchNorm2d. Uses standard operators and collectives, so it runs on any device.

    Needs two collectives per layer and step: an AllGather forward, an AllReduce backward. MindSpore's operator needs
    four AllReduces on Ascend.

    Args:
        momentum: weight of the new statistics in the running ones, as in PyTorch.
    """

    def __init__(self, eps: float, momentum: float) -> None:
        super().__init__()
        self.normalise = _Normalise(eps)
        self.momentum = momentum

    def construct(
        self, x: Tensor, gamma: Tensor, beta: Tensor, running_mean: Tensor, running_variance: Tensor
    ) -> tuple[Tensor]:
        """(N, C, H, W), whose size may differ between ranks, and four (C,) to (N, C, H, W)."""
        out, mean, variance, count = self.normalise(x, gamma, beta)
        unbiased = variance * count / ops.maximum(count - 1, 1)
        out = ops.depend(out, ops.assign_add(running_mean, self.momentum * (mean - running_mean)))
        out = ops.depend(out, ops.assign_add(running_variance, self.momentum * (unbiased - running_variance)))
        return (out,)


class _Normalise(nn.Cell):
    """Normalises with the mean and variance over all ranks. The explicit gradient needs only one collective.

    Uses operators instead of functions: a network has hundreds of these layers, and functions take longer to compile.
    """

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.gather = ops.AllGather()
        self.sum_ranks = ops.AllReduce()
        self.sum = ops.ReduceSum()
        self.mean = ops.ReduceMean()
        self.square, self.rsqrt = ops.Square(), ops.Rsqrt()
        self.cast, self.reshape, self.ones = ops.Cast(), ops.Reshape(), ops.OnesLike()
        self.concat, self.split_three, self.split_two = ops.Concat(), ops.Split(1, 3), ops.Split(0, 2)

    def construct(self, x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns out like x, and in float32: mean (C,), biased variance (C,), values per channel on all ranks (C,)."""
        values = self.cast(x, float32)
        channels = x.shape[1]
        column = (1, channels, 1, 1)
        own_mean = self.mean(values, (0, 2, 3))
        own_variance = self.mean(self.square(values - self.reshape(own_mean, column)), (0, 2, 3))
        own_count = self.ones(own_mean) * (x.size // channels)
        # combine the ranks' means and variances as Chan, Golub, LeVeque (1979), without cancellation
        rows = self.reshape(self.gather(self.concat((own_count, own_mean, own_variance))), (-1, 3 * channels))
        counts, means, variances = self.split_three(rows)
        count = self.sum(counts, 0)
        mean = self.sum(counts * means, 0) / count
        variance = self.sum(counts * (variances + self.square(means - mean)), 0) / count
        scale = gamma * self.rsqrt(variance + self.eps)
        out = values * self.reshape(scale, column) + self.reshape(beta - mean * scale, column)
        return self.cast(out, x.dtype), mean, variance, count

    def bprop(
        self, x: Tensor, gamma: Tensor, beta: Tensor, out: tuple[Tensor, ...], dout: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        _, mean, variance, count = out
        column = (1, x.shape[1], 1, 1)
        grad = self.cast(dout[0], float32)
        inverse_std = self.reshape(self.rsqrt(variance + self.eps), column)
        normal = (self.cast(x, float32) - self.reshape(mean, column)) * inverse_std
        grad_beta, grad_gamma = self.sum(grad, (0, 2, 3)), self.sum(grad * normal, (0, 2, 3))
        sum_beta, sum_gamma = self.split_two(self.sum_ranks(self.concat((grad_beta, grad_gamma))))
        mean_beta, mean_gamma = self.reshape(sum_beta / count, column), self.reshape(sum_gamma / count, column)
        grad_x = self.reshape(gamma, column) * inverse_std * (grad - mean_beta - normal * mean_gamma)
        return self.cast(grad_x, x.dtype), grad_gamma, grad_beta
