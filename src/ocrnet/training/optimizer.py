"""SGD with momentum, and AdamW. Both take the learning rate as an input of each step."""

import numpy as np
from mindspore import Parameter, Tensor, float32, nn, ops

from ocrnet.config import OptimizerConfig
from ocrnet.training.parameter_groups import parameter_options

STATS = "stats"
"""Prefix of parameters that are constant and not part of a checkpoint."""

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
        # not in checkpoints: a resumed run has the momentum of its config
        self.momentum = Parameter(Tensor(momentum, float32), f"{STATS}.momentum")
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


_update_adamw = ops.MultitypeFuncGraph("update_adamw")


@_update_adamw.register(
    "Function",
    "Number",
    "Number",
    "Tensor",
    "Tensor",
    "Tensor",
    "Number",
    "Number",
    "Tensor",
    "Tensor",
    "Tensor",
    "Tensor",
)
def _update_one_adamw(
    adamw, beta1, beta2, rate, eps, decay_scale, factor, decay, gradient, parameter, exp_avg, exp_avg_sq
) -> bool:
    updated = adamw(parameter, exp_avg, exp_avg_sq, rate * factor, beta1, beta2, eps, decay_scale * decay, gradient)
    return ops.depend(True, updated)


class AdamW(nn.Optimizer):
    """AdamW (Loshchilov & Hutter, 2019) as PyTorch defines it.

    m = beta1 * m + (1 - beta1) * gradient; v = beta2 * v + (1 - beta2) * gradient ** 2; after t steps
    w = w - lr * factor * (m / (1 - beta1 ** t) / (sqrt(v / (1 - beta2 ** t)) + eps) + decay * w).

    MindSpore's operator has no bias correction. It gets a learning rate, an epsilon and a decay that contain it, so one
    operator updates a parameter. nn.AdamWeightDecay has no bias correction at all.

    Args:
        betas: decay rates of m and v.
        decays: weight decay of each parameter.
        factors: learning-rate factor of each parameter.
    """

    def __init__(
        self,
        parameters: list[Parameter],
        betas: tuple[float, float],
        eps: float,
        decays: tuple[float, ...],
        factors: tuple[float, ...],
    ) -> None:
        super().__init__(0.01, parameters)
        self.exp_avg = self.parameters.clone("exp_avg", "zeros")
        self.exp_avg_sq = self.parameters.clone("exp_avg_sq", "zeros")
        # 1 - beta ** t, as the mean of a gradient that is always 1: the rounding of m and v cancels, and a step that is
        # skipped for an overflow does not count
        self.correction1 = Parameter(Tensor(0.0, float32), "correction1")
        self.correction2 = Parameter(Tensor(0.0, float32), "correction2")
        self.beta1, self.beta2 = betas
        self.new1, self.new2 = (float(np.float32(1) - np.float32(beta)) for beta in betas)  # as the operator has it
        self.eps = eps
        self.decays = decays
        self.factors = factors
        self.adamw = ops.AdamWeightDecay()

    def construct(self, gradients: tuple[Tensor, ...], lr: Tensor) -> tuple[bool, ...]:
        """Update the parameters with the learning rate `lr`, () float32."""
        correction1 = self.beta1 * self.correction1 + self.new1
        correction2 = self.beta2 * self.correction2 + self.new2
        lr = ops.depend(lr, ops.assign(self.learning_rate, lr))  # for the checkpoint
        lr = ops.depend(lr, ops.assign(self.correction1, correction1))
        lr = ops.depend(lr, ops.assign(self.correction2, correction2))
        root = ops.sqrt(correction2)
        scale = root / correction1
        update = ops.partial(_update_adamw, self.adamw, self.beta1, self.beta2, lr * scale, self.eps * root, 1 / scale)
        return self.map_(update, self.factors, self.decays, gradients, self.parameters, self.exp_avg, self.exp_avg_sq)


def make_optimizer(config: OptimizerConfig, network: nn.Cell) -> Momentum | AdamW:
    """Create the optimizer of a config for the trainable parameters of `network`.

    The learning rate is an input of each step. So a step that is skipped for an overflow still advances the schedule,
    and a resume needs only the step number.

    Raises:
        UserError: a group of `optimizer.groups` applies to no parameter.
    """
    options = parameter_options(config, network)
    parameters = [option.parameter for option in options]
    decays = tuple(option.weight_decay for option in options)
    factors = tuple(option.lr_factor for option in options)
    if config.kind == "adamw":
        return AdamW(parameters, config.betas, config.eps, decays, factors)
    return Momentum(parameters, config.momentum, decays, factors if set(factors) != {1.0} else ())
