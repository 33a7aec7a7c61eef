"""One training step: forward, backward, loss scale, overflow check, clipping, update."""

from contextlib import AbstractContextManager, nullcontext

from mindspore import Parameter, ParameterTuple, Tensor, amp, int32, nn, ops

from ocrnet.config import LossScaleConfig
from ocrnet.distributed import launcher
from ocrnet.distributed.collectives import MeanGradients, MeanOverRanks, TrueOnAllRanks
from ocrnet.training.ema import ExponentialMovingAverage
from ocrnet.training.optimizer import STATS


def make_loss_scaler(config: LossScaleConfig) -> amp.LossScaler | None:
    """Returns MindSpore's loss scaler, or None for no loss scale and no overflow check."""
    if config.kind == "static":
        return amp.StaticLossScaler(config.value)
    if config.kind == "dynamic":
        return amp.DynamicLossScaler(config.value, config.factor, config.window)
    return None


_add = ops.MultitypeFuncGraph("add")


@_add.register("Tensor", "Number", "Tensor", "Tensor")
def _add_part(first: Tensor, steps: int, total: Tensor, gradient: Tensor) -> Tensor:
    part = gradient / steps
    return ops.assign(total, ops.where(first, part, total + part))


class TrainOneStep(nn.Cell):
    """A training step on any device. Averages the gradients over the ranks; all ranks update or all skip.

    MindSpore's TrainOneStepWithLossScaleCell checks overflow with operators that a CPU lacks; `amp.all_finite` runs
    everywhere.

    Args:
        loss_network: maps images, labels to (loss, main loss, auxiliary loss).
        loss_scaler: see `make_loss_scaler`.
        clip_grad: maximum global norm of the gradients; 0: no clipping.
        accumulate_steps: calls per step; the last call updates with the mean of their gradients.
        ema: updated after each update of the weights; None: no average.
    """

    def __init__(
        self,
        loss_network: nn.Cell,
        optimizer: nn.Optimizer,
        loss_scaler: amp.LossScaler | None,
        clip_grad: float = 0.0,
        accumulate_steps: int = 1,
        ema: ExponentialMovingAverage | None = None,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.loss_network = loss_network
        self.optimizer = optimizer
        self.loss_scaler = loss_scaler
        self.clip_grad = clip_grad
        self.accumulate_steps = accumulate_steps
        self.ema = ema
        if accumulate_steps > 1:
            # not registered with the cell: they are empty between steps and do not belong in a checkpoint
            object.__setattr__(self, "sums", ParameterTuple(optimizer.parameters.clone("accumulated", "zeros")))
            object.__setattr__(self, "summed", Parameter(Tensor(0, int32), "accumulated", requires_grad=False))
        ranks = launcher.ranks().size
        self.map = ops.HyperMap()
        self.reduce = MeanGradients(optimizer.parameters) if ranks > 1 else nn.Identity()
        self.mean_over_ranks = MeanOverRanks()
        self.true_on_all_ranks = TrueOnAllRanks()
        self.gradients = ops.value_and_grad(self._scaled_loss, None, optimizer.parameters, has_aux=True)

    def _scaled_loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        loss, main_loss, auxiliary_loss = self.loss_network(images, labels)
        if self.loss_scaler is not None:
            loss = self.loss_scaler.scale(loss)
        return loss, main_loss, auxiliary_loss

    def construct(self, images: Tensor, labels: Tensor, lr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Train with a batch.

        Args:
            images: (N, 3, H, W) float32.
            labels: (N, H, W) int32.
            lr: learning rate, () float32. An input, because setting a parameter between steps needs an operator.

        Returns:
            main loss, auxiliary loss, whether the weights were updated.
        """
        (_, main_loss, auxiliary_loss), gradients = self.gradients(images, labels)
        main_loss, auxiliary_loss = self.mean_over_ranks(ops.stack((main_loss, auxiliary_loss)))
        updated = Tensor(True)
        if self.accumulate_steps > 1:
            if self._accumulate(gradients):
                main_loss, updated = self._step(main_loss, self.sums, lr)
        else:
            main_loss, updated = self._step(main_loss, gradients, lr)
        return main_loss, auxiliary_loss, updated

    def _accumulate(self, gradients: tuple[Tensor, ...]) -> Tensor:
        """Add to the mean of the step's gradients. Returns whether the step is complete."""
        first = self.summed == 0
        self.map(ops.partial(_add, first, self.accumulate_steps), self.sums, gradients)
        ops.assign(self.summed, (self.summed + 1) % self.accumulate_steps)
        return self.summed == 0

    def _step(self, main_loss: Tensor, gradients: tuple[Tensor, ...], lr: Tensor) -> tuple[Tensor, Tensor]:
        """Update, or skip the update after an overflow.

        The ranks agree on it: an Ascend 910A stores an overflow in a register of the device and saturates the values,
        so the mean gradients of the others look finite.

        Returns:
            the loss, which now depends on the update, and whether the weights were updated.
        """
        updated = Tensor(True)
        gradients = self.reduce(gradients)
        if self.loss_scaler is None:
            main_loss = ops.depend(main_loss, self._update(gradients, lr))
        else:
            gradients = self.loss_scaler.unscale(gradients)
            updated = self.true_on_all_ranks(amp.all_finite(gradients))
            if updated:
                main_loss = ops.depend(main_loss, self._update(gradients, lr))
            main_loss = ops.depend(main_loss, self.loss_scaler.adjust(updated))
        return main_loss, updated

    def _update(self, gradients: tuple[Tensor, ...], lr: Tensor) -> bool:
        if self.clip_grad > 0:
            gradients = ops.clip_by_global_norm(gradients, self.clip_grad)
        updated = self.optimizer(gradients, lr)
        if self.ema is not None:
            updated = ops.depend(updated, self.ema())
        return updated

    def averaged_weights(self) -> AbstractContextManager[None]:
        """Context in which the network has the averaged weights, if there is an average."""
        return nullcontext() if self.ema is None else self.ema.in_network()

    def loss_scale(self) -> float:
        """Returns the current loss scale; 1 without a scaler."""
        return 1.0 if self.loss_scaler is None else float(self.loss_scaler.scale_value.asnumpy())

    def state(self) -> dict[str, Parameter]:
        """Returns all state for the checkpoint: weights, BatchNorm statistics, their average, optimizer, loss scale."""
        values = vars(self.loss_scaler).values() if self.loss_scaler else ()  # MindSpore's scalers are not cells
        scale = {f"loss_scale.{value.name}": value for value in values if isinstance(value, Parameter)}
        saved = {name: value for name, value in self.parameters_dict().items() if not name.startswith(f"{STATS}.")}
        if self.ema is not None:
            saved = self.ema.swap_names(saved)
        return {**saved, **scale}
