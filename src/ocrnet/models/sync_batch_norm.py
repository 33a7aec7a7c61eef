"""BatchNorm whose batch is that of all ranks together; the published configs assume it."""

import mindspore as ms
from mindspore import Tensor, float32, nn, ops
from mindspore.ops.operations import _inner_ops as inner

from ocrnet.distributed import launcher


def synchronise_batch_norm(network: nn.Cell) -> None:
    """Let every BatchNorm of `network` take its statistics over all ranks, in place. Its tensors keep their names."""
    ranks = launcher.ranks().size
    if ranks == 1:
        return
    for _, cell in network.cells_and_names():
        if isinstance(cell, nn.BatchNorm2d):
            if ms.get_context("device_target") == "CPU":
                cell.bn_train = BatchNormOverRanks(cell.eps, cell.momentum)
            else:  # as nn.SyncBatchNorm does, whose class would change the tensors' names
                group = f"{'hccl' if ms.get_context('device_target') == 'Ascend' else 'nccl'}_world_group"
                cell.bn_train = inner.SyncBatchNorm(cell.eps, cell.momentum, group, ranks)


class BatchNormOverRanks(nn.Cell):
    """Takes the place of the operator in nn.BatchNorm2d: of plain operators and collectives, for any device.

    Args:
        momentum: share of the new statistics in the running ones.
    """

    def __init__(self, eps: float, momentum: float) -> None:
        super().__init__()
        self.normalise = _Normalise(eps)
        self.momentum = momentum

    def construct(
        self, x: Tensor, gamma: Tensor, beta: Tensor, running_mean: Tensor, running_variance: Tensor
    ) -> tuple[Tensor]:
        """(N, C, H, W) of each rank, whose sizes may differ, and four (C,) to (N, C, H, W)."""
        out, mean, variance, count = self.normalise(x, gamma, beta)
        unbiased = variance * count / ops.maximum(count - 1, 1)
        out = ops.depend(out, ops.assign_add(running_mean, self.momentum * (mean - running_mean)))
        out = ops.depend(out, ops.assign_add(running_variance, self.momentum * (unbiased - running_variance)))
        return (out,)


class _Normalise(nn.Cell):
    """Normalise with the moments of all ranks; the gradient is written down, so that it costs one collective.

    Operators, not functions: a network has hundreds of these layers, and functions take the compiler longer.
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
        self.join, self.split_three, self.split_two = ops.Concat(), ops.Split(1, 3), ops.Split(0, 2)

    def construct(self, x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """To out like x, and in float32: mean (C,), biased variance (C,), values a channel on all ranks (C,)."""
        values = self.cast(x, float32)
        channels = x.shape[1]
        column = (1, channels, 1, 1)
        own_mean = self.mean(values, (0, 2, 3))
        own_variance = self.mean(self.square(values - self.reshape(own_mean, column)), (0, 2, 3))
        own_count = self.ones(own_mean) * (x.size // channels)
        # each rank's mean and variance are joined as Chan, Golub, LeVeque (1979) do, which cancels nothing
        rows = self.reshape(self.gather(self.join((own_count, own_mean, own_variance))), (-1, 3 * channels))
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
        deviation = self.reshape(self.rsqrt(variance + self.eps), column)
        normal = (self.cast(x, float32) - self.reshape(mean, column)) * deviation
        of_beta, of_gamma = self.sum(grad, (0, 2, 3)), self.sum(grad * normal, (0, 2, 3))
        sum_beta, sum_gamma = self.split_two(self.sum_ranks(self.join((of_beta, of_gamma))))
        mean_beta, mean_gamma = self.reshape(sum_beta / count, column), self.reshape(sum_gamma / count, column)
        of_x = self.reshape(gamma, column) * deviation * (grad - mean_beta - normal * mean_gamma)
        return self.cast(of_x, x.dtype), of_gamma, of_beta
