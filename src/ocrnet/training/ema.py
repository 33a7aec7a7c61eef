"""Exponential moving average (EMA) of the weights: often scores better than the weights of the last step."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mindspore import Parameter, ParameterTuple, Tensor, int32, nn, ops

from ocrnet.weights.ckpt import RAW, UPDATES

_average = ops.MultitypeFuncGraph("average")


@_average.register("Tensor", "Tensor", "Tensor")
def _average_one(share: Tensor, average: Tensor, weight: Tensor) -> Tensor:
    return ops.assign(average, average + share * (weight - average))


class ExponentialMovingAverage(nn.Cell):
    """Averages the trained weights and the BatchNorm statistics: average = d * average + (1 - d) * weight.

    d = min(decay, (1 + n) / (10 + n)) after n earlier updates, as TensorFlow's tf.train.ExponentialMovingAverage with
    `num_updates`: a fixed decay would keep the initial weights in the average for thousands of steps. BatchNorm's
    statistics are averaged too, as in timm's ModelEmaV3 and PyTorch's AveragedModel with `use_buffers`.

    In a checkpoint the average has the names of the network, so that whatever reads the file uses it; the weights that
    training continues with have the prefix `raw.`.

    Args:
        network: its current weights are the initial average.
        decay: between 0 and 1, such as 0.9998.
    """

    def __init__(self, network: nn.Cell, decay: float) -> None:
        super().__init__(auto_prefix=False)
        averaged = [value for value in network.get_parameters() if value.requires_grad or ".moving_" in value.name]
        self.weights = ParameterTuple(averaged)
        self.averages = self.weights.clone("ema")
        for average in self.averages:
            average.requires_grad = False
        self.updates = Parameter(Tensor(0, int32), UPDATES, requires_grad=False)
        self.smallest_share = 1 - decay
        self.map = ops.HyperMap()

    def construct(self) -> tuple[Tensor, ...]:
        """Update the average with the current weights."""
        share = ops.maximum(self.smallest_share, 9 / (10 + self.updates))  # 1 - d
        updates = ops.assign(self.updates, self.updates + 1)
        return ops.depend(self.map(ops.partial(_average, share), self.averages, self.weights), updates)

    @contextmanager
    def in_network(self) -> Iterator[None]:
        """Context in which the network has the average. Afterwards it has its own weights again, bit for bit."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        for weight, average in zip(self.weights, self.averages, strict=True):
            value = Tensor(weight.asnumpy())
            ops.assign(weight, average)  # in place: after set_data, a compiled graph would use other memory
            ops.assign(average, value)

    def swap_names(self, state: Mapping[str, Parameter]) -> dict[str, Parameter]:
        """Returns `state`, {name: parameter of a training step}, with the names that a checkpoint has."""
        names = {}
        for weight, average in zip(self.weights, self.averages, strict=True):
            names |= {weight.name: f"{RAW}{weight.name}", average.name: weight.name}
        return {names.get(name, name): value for name, value in state.items()}
