"""BatchNorm whose batch is that of all ranks together; the published recipes assume it."""

import mindspore as ms
from mindspore import Tensor, float32, nn, ops
from mindspore.ops.operations import _inner_ops as inner

from ocrnet import launcher


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
    """Normalise with the moments of all ranks; the gradient is written down, so that it costs one collective."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.gather = ops.AllGather()
        self.sum = ops.AllReduce()

    def construct(self, x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """To out like x, and in float32: mean (C,), biased variance (C,), values a channel on all ranks (1,)."""
        values = x.astype(float32)
        channels = x.shape[1]
        own_mean = values.mean((0, 2, 3), keep_dims=True)
        own_variance = ops.square(values - own_mean).mean((0, 2, 3))
        own_count = Tensor([x.size // channels], float32)
        # each rank's mean and variance are joined as Chan, Golub, LeVeque (1979) do, which cancels nothing
        row = ops.cat((own_count, own_mean.reshape(-1), own_variance))
        rows = self.gather(row).reshape(-1, 1 + 2 * channels)
        counts, means, variances = rows[:, :1], rows[:, 1 : 1 + channels], rows[:, 1 + channels :]
        count = counts.sum(0)
        mean = (counts * means).sum(0) / count
        variance = (counts * (variances + ops.square(means - mean))).sum(0) / count
        scale = gamma * ops.rsqrt(variance + self.eps)
        out = values * scale.reshape(1, -1, 1, 1) + (beta - mean * scale).reshape(1, -1, 1, 1)
        return out.astype(x.dtype), mean, variance, count

    def bprop(
        self, x: Tensor, gamma: Tensor, beta: Tensor, out: tuple[Tensor, ...], dout: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        _, mean, variance, count = out
        slope = dout[0].astype(float32)
        deviation = ops.rsqrt(variance + self.eps).reshape(1, -1, 1, 1)
        normal = (x.astype(float32) - mean.reshape(1, -1, 1, 1)) * deviation
        of_beta, of_gamma = slope.sum((0, 2, 3)), (slope * normal).sum((0, 2, 3))
        means = (self.sum(ops.cat((of_beta, of_gamma))) / count).reshape(2, 1, -1, 1, 1)
        of_x = (gamma.reshape(1, -1, 1, 1) * deviation) * (slope - means[0] - normal * means[1])
        return of_x.astype(x.dtype), of_gamma, of_beta
