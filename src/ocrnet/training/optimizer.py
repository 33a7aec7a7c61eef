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


STATS = "stats"
"""Prefix of parameters that are always 0 and not part of a checkpoint."""

_update = ops.MultitypeFuncGraph("update")


@_update.register("Tensor", "Tensor", "Function", "Tensor", "Tensor", "Tensor", "Tensor")
def _update_one(momentum, lr, sgd, gradient, parameter, moment, stat) -> bool:
    return ops.depend(True, sgd(parameter, gradient, lr, moment, momentum, stat))


@_update.register("Tensor", "Tensor", "Number", "Function", "Tensor", "Tensor", "Tensor", "Tensor")
def _update_by_factor(momentum, lr, factor, sgd, gradient, parameter, moment, stat) -> bool:
    return _update_one(momentum, lr * factor, sgd, gradient, parameter, moment, stat)


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
        self.factors = factors
        # One operator decays the weight, updates the moment and the weight. It wants a tensor that is 0 after the first
        # step; moments that start at 0 need no other first step.
        operators = {decay: ops.SGD(0.0, decay, False) for decay in set(decays)}
        self.sgd = tuple(operators[decay] for decay in decays)
        # always 0, so not in checkpoints; registered, because a cached graph has random values in others
        self.stats = self.parameters.clone(STATS, "zeros")

    def construct(self, gradients: tuple[Tensor, ...], lr: Tensor) -> tuple[bool, ...]:
        """Update the parameters with the learning rate `lr`, () float32."""
        lr = ops.depend(lr, ops.assign(self.learning_rate, lr))  # for the checkpoint
        update = ops.partial(_update, self.momentum, lr)
        if self.factors:
            return self.map_(update, self.factors, self.sgd, gradients, self.parameters, self.moments, self.stats)
        return self.map_(update, self.sgd, gradients, self.parameters, self.moments, self.stats)


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
