"""SGD with momentum, and the learning-rate schedule."""

from mindspore import Parameter, Tensor, float32, nn, ops

from ocrnet.config import OptimizerConfig, ScheduleConfig


def learning_rate(config: ScheduleConfig, step: float, total_step: float) -> float:
    """Returns the learning rate of step 0 .. total_step - 1; fractional after a resume with another batch size.

    poly: min_lr + (lr - min_lr) * (1 - step / total_step) ** power, as mmsegmentation's PolyLR over iterations.
    linear: linear decay from lr after the warm-up to min_lr (mindspore-lab).
    All start with a linear warm-up from warmup_lr to lr over warmup_steps.
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

    Replaces nn.Momentum, which MindSpore will remove. nn.Momentum applies weight decay to BatchNorm only with parameter
    groups, which add seconds to the compilation.

    Args:
        decays: weight decay of each parameter.
        factors: learning-rate factor of each parameter; empty: all 1.
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

    def construct(self, gradients: tuple[Tensor, ...], lr: Tensor) -> tuple[bool, ...]:
        """Update the parameters with the learning rate `lr`, () float32."""
        lr = ops.depend(lr, ops.assign(self.learning_rate, lr))  # for the checkpoint
        update = ops.partial(_update, self.apply_momentum, self.momentum, lr)
        if self.factors:
            return self.map_(update, self.factors, self.decays, gradients, self.parameters, self.moments)
        return self.map_(update, self.decays, gradients, self.parameters, self.moments)


def make_optimizer(config: OptimizerConfig, network: nn.Cell) -> Momentum:
    """Create the optimizer of a config for the trainable parameters of `network`.

    The learning rate is an input of each step. So a step that is skipped for an overflow still advances the schedule,
    and a resume needs only the step number.
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
