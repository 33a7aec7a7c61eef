"""Evaluate a checkpoint: python eval.py --config config/ocrnet/....yml --ckpt_path FILE.ckpt"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from ocrnet import arguments, checkpoint, device, errors
from ocrnet.data.datasets import open_dataset, palette
from ocrnet.inference import Predictor, predict_dataset
from ocrnet.metrics import ConfusionMatrix
from ocrnet.models.ocrnet import OCRNet
from ocrnet.train_cell import set_precision
from ocrnet.visualize import write_side_by_side


def main() -> None:
    parser = arguments.recipe_parser("Evaluate OCRNet on the validation split.")
    parser.add_argument(
        "--ckpt_path", "--checkpoint_path", metavar="FILE.ckpt", help="default: best.ckpt of the recipe's save_dir"
    )
    parser.add_argument("--result_json", metavar="FILE", help="write the scores and the confusion matrix")
    parser.add_argument(
        "--visualize", type=arguments.boolean, default=False, help="True: write picture | label | prediction"
    )
    args, config = arguments.parse(parser)
    ckpt_path = Path(args.ckpt_path or config.save_dir / "checkpoint" / "best.ckpt")

    target = device.init(config.device_target, config.ms_mode, config.seed)
    dataset = open_dataset(config.data, "val")
    network = OCRNet(config.model, len(dataset.classes))
    checkpoint.load_weights(network, ckpt_path, dataset.classes)
    if config.train.mix:
        set_precision(network, config.train.amp_level)
    print(f"OCRNet {config.model.backbone} on {target}: {ckpt_path} on {len(dataset)} pictures")

    matrix = ConfusionMatrix(dataset.classes)
    pictures = config.save_dir / "pictures"
    for name, picture, label, prediction in predict_dataset(
        Predictor(network, config), dataset, config.eval.batch_size
    ):
        matrix.update(label, prediction)
        if args.visualize and matrix.images <= config.eval.pictures:
            write_side_by_side(pictures / f"{name}.png", picture, label, prediction, palette(config.data))

    print(matrix.table())
    if args.visualize:
        print(f"pictures (image | label | prediction) in {pictures}")
    if args.result_json:
        errors.write_text(Path(args.result_json), json.dumps(matrix.to_dict(), indent=1))


if __name__ == "__main__":
    sys.exit(errors.run(main))
