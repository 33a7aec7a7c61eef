"""SGD with momentum and the learning rate of every step."""

from mindspore import Parameter, Tensor, float32, nn, ops

from ocrnet.config import OptimizerConfig, ScheduleConfig


def learning_rate(config: ScheduleConfig, step: float, total_step: float) -> float:
    """Learning rate of step 0 .. total_step - 1. Where a run was resumed with larger or smaller steps, steps are
    fractions of those that it began with.

    poly: min_lr + (lr - min_lr) * (1 - step / total_step) ** power, as mmsegmentation's PolyLR over iterations.
    linear: a straight line from lr after the warm-up to min_lr (mindspore-lab).
    Either starts with a straight line from warmup_lr to lr over warmup_steps.
    """
    if step < config.warmup_steps:
        return config.warmup_lr + (config.lr - config.warmup_lr) * step / config.warmup_steps
    if config.kind == "constant":
        return config.lr
    if config.kind == "linear":
        done = (step - config.warmup_steps) / (total_step - config.warmup_steps)
        return config.lr + (config.min_lr - config.lr) * done
    return config.min_lr + (config.lr - config.min_lr) * (1 - step / total_step) ** config.power


_update = ops.MultitypeFuncGraph("update")


@_update.register("Function", "Tensor", "Tensor", "Number", "Tensor", "Tensor", "Tensor")
def _update_one(apply, momentum, lr, decay, gradient, parameter, moment) -> bool:
    return ops.depend(True, apply(parameter, moment, lr, gradient + decay * parameter, momentum))


@_update.register("Function", "Tensor", "Tensor", "Number", "Number", "Tensor", "Tensor", "Tensor")
def _update_by_factor(apply, momentum, lr, factor, decay, gradient, parameter, moment) -> bool:
    return _update_one(apply, momentum, lr * factor, decay, gradient, parameter, moment)


class Momentum(nn.Optimizer):
    """SGD with momentum as PyTorch defines it: v = momentum * v + gradient + decay * w; w = w - lr * factor * v.

    nn.Momentum, which MindSpore will remove, decays no BatchNorm unless parameters are in groups, and what it does for
    groups takes the compiler seconds.

    Args:
        decays, factors: weight decay and learning-rate factor of each parameter; no factors: all 1.
    """

    def __init__(
        self,
        parameters: list[Parameter],
        momentum: float,
        decays: tuple[float, ...],
        factors: tuple[float, ...] = (),
    ) -> None:
        super().__init__(0.01, parameters)
        self.momentum = Parameter(Tensor(momentum, float32), "momentum")
        self.moments = self.parameters.clone("moments", "zeros")
        self.decays, self.factors = decays, factors
        self.apply_momentum = ops.ApplyMomentum()

    def construct(self, gradients: tuple[Tensor, ...]) -> tuple[bool, ...]:
        update = ops.partial(_update, self.apply_momentum, self.momentum, self.learning_rate)
        if self.factors:
            return self.map_(update, self.factors, self.decays, gradients, self.parameters, self.moments)
        return self.map_(update, self.decays, gradients, self.parameters, self.moments)


def make_optimizer(config: OptimizerConfig, network: nn.Cell) -> Momentum:
    """What the config asks for, over all that `network` trains.

    The learning rate is a parameter, which the trainer sets before each step: a step that is skipped for an overflow
    still moves the schedule, and resuming needs the step alone.
    """
    parameters = network.trainable_params()
    decays = tuple(
        config.weight_decay if config.decay_norm_and_bias or parameter.ndim > 1 else 0.0 for parameter in parameters
    )
    factors = tuple(
        config.backbone_lr_factor if parameter.name.startswith("backbone.") else config.head_lr_factor
        for parameter in parameters
    )
    return Momentum(parameters, config.momentum, decays, factors if set(factors) != {1.0} else ())


def set_learning_rate(optimizer: Momentum, lr: float) -> None:
    """Set the rate of the next step. Assigned in place: a compiled step keeps reading the same memory."""
    ops.assign(optimizer.learning_rate, Tensor(lr, float32))
