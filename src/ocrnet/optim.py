"""SGD with momentum and the learning rate of every step."""

from mindspore import Parameter, Tensor, float32, nn, ops

from ocrnet.config import OptimizerConfig, ScheduleConfig


def learning_rate(config: ScheduleConfig, step: int, total_step: int) -> float:
    """Learning rate of step 0 .. total_step - 1.

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


def make_optimizer(config: OptimizerConfig, network: nn.Cell) -> nn.Momentum:
    """SGD with momentum as PyTorch defines it: v = momentum * v + gradient + decay * w; w = w - lr * v.

    The learning rate is a parameter, which the trainer sets before each step: a step that is skipped for an overflow
    still moves the schedule, and resuming needs the step alone.
    """
    parameters = network.trainable_params()
    factors = {True: config.backbone_lr_factor, False: config.head_lr_factor}
    if set(factors.values()) == {1} and config.decay_norm_and_bias:
        # a group, because without one MindSpore leaves out whatever is called gamma or beta
        together = [{"params": parameters, "weight_decay": config.weight_decay}]
        return nn.Momentum(together, 0.01, config.momentum, config.weight_decay)
    groups: dict[tuple[float, float], list[Parameter]] = {}
    for parameter in parameters:
        factor = factors[_in_backbone(parameter)]
        decay = config.weight_decay if config.decay_norm_and_bias or parameter.ndim > 1 else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    together = [
        {"params": members, "lr": 0.01 * factor, "weight_decay": decay} for (factor, decay), members in groups.items()
    ]
    optimizer = nn.Momentum([*together, {"order_params": parameters}], 0.01, config.momentum, config.weight_decay)
    optimizer.lr_factors = factors
    return optimizer


def _in_backbone(parameter: Parameter) -> bool:
    return parameter.name.startswith("backbone.")


def set_learning_rate(optimizer: nn.Optimizer, lr: float) -> None:
    """Set the rate of the next step. Assigned in place: a compiled step keeps reading the same memory."""
    if not optimizer.is_group_lr:
        ops.assign(optimizer.learning_rate, Tensor(lr, float32))
        return
    # the parameters of a group share theirs
    rates = dict(zip(optimizer.learning_rate, optimizer.parameters, strict=True))
    for rate, parameter in rates.items():
        ops.assign(rate, Tensor(lr * optimizer.lr_factors[_in_backbone(parameter)], float32))
