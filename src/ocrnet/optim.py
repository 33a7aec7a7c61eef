"""SGD with momentum and the learning rate of every step."""

from mindspore import Tensor, float32, nn, ops

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

    The learning rate is one scalar parameter, which the trainer sets before each step: a step that is skipped for an
    overflow still moves the schedule, and resuming needs the step alone.
    """
    parameters = network.trainable_params()
    if not config.decay_norm_and_bias:
        parameters = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
            {"order_params": parameters},
        ]
    return nn.Momentum(parameters, 0.01, config.momentum, config.weight_decay)


def set_learning_rate(optimizer: nn.Optimizer, lr: float) -> None:
    """Set the rate of the next step. Assigned in place: a compiled step keeps reading the same memory."""
    ops.assign(optimizer.learning_rate, Tensor(lr, float32))
