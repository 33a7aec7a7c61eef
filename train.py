"""Train OCRNet from a config: python train.py --config config/ocrnet/....yml"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from ocrnet.runtime.signals import StopRequest

stop = StopRequest().watch()  # before MindSpore is imported, see StopRequest.watch

from ocrnet.cloud import modelarts
from ocrnet.config import Config, command_line
from ocrnet.data.splits import open_dataset
from ocrnet.distributed import collectives, launcher
from ocrnet.models.layers import freeze
from ocrnet.models.ocrnet import OCRNet
from ocrnet.models.precision import set_precision
from ocrnet.models.sync_batch_norm import convert_sync_batch_norm
from ocrnet.preflight.check import print_short
from ocrnet.runtime import device, program
from ocrnet.training.compile_cache import compile_step
from ocrnet.training.ema import ExponentialMovingAverage
from ocrnet.training.losses import OCRLoss
from ocrnet.training.optimizer import make_optimizer
from ocrnet.training.parameter_groups import describe, parameter_options
from ocrnet.training.pretrained import load_initial_weights
from ocrnet.training.profiler import step_count
from ocrnet.training.step import TrainOneStep, make_loss_scaler
from ocrnet.training.trainer import Trainer


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_line.config_parser("Train OCRNet.", training=True)
    parser.add_argument(
        "--resume_ckpt", metavar="FILE|auto", help="resume from this checkpoint, or from the latest one"
    )
    parser.add_argument("--compile_cache", metavar="DIR", type=Path, help="cache the compiled step in this folder")
    parser.add_argument("--profile", metavar="N", type=step_count, default=0, help="profile N steps, then continue")
    return parser


def main() -> None:
    args, config = command_line.parse(make_parser(), training=True)

    with modelarts.job(args, config) as (config, checkpoint_saved):
        train(args, config, checkpoint_saved)
    collectives.barrier()  # no rank exits before the others are done


def train(args: argparse.Namespace, config: Config, checkpoint_saved: Callable[[], None]) -> None:
    target = device.init(config.device_target, config.ms_mode, config.seed, config.device.options)
    training = open_dataset(config.data, "train")
    ranks = launcher.ranks()
    print_short(config, training)
    validation = open_dataset(config.data, "val") if config.eval.run_eval else None

    classes = len(config.data.classes)
    network = OCRNet(config.model, classes)
    if args.resume_ckpt in (None, "auto"):  # "auto" may find nothing
        load_initial_weights(network, config)
    freeze(network, config.model.freeze, config.model.freeze_norm)
    if config.train.sync_batch_norm:
        convert_sync_batch_norm(network, config.train.sync_batch_norm_operator)
    set_precision(network, config.train)
    loss_network = OCRLoss(network, config.loss, classes, config.model.align_corners)
    optimizer = make_optimizer(config.optimizer, loss_network)
    train_step = TrainOneStep(
        loss_network,
        optimizer,
        make_loss_scaler(config.train.loss_scale),
        config.train.clip_grad,
        config.train.accumulate_steps,
        ExponentialMovingAverage(network, config.train.ema) if config.train.ema else None,
    )

    trainer = Trainer(config, train_step, training, validation, stop, checkpoint_saved, args.profile)
    trainer.prepare(args.resume_ckpt)
    if args.compile_cache and config.ms_mode == 0:
        compile_step(train_step, config, args.compile_cache)
    devices = f"{ranks.size} x {target}" if ranks.size > 1 else target
    print(f"OCRNet {config.model.backbone} on {devices}: {len(training)} images, {classes} classes, {config.save_dir}")
    for line in describe(parameter_options(config.optimizer, loss_network)):
        print(line)
    trainer.train()


if __name__ == "__main__":
    sys.exit(program.run(main))
