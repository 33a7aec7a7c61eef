"""Compare the scores of several runs: python scripts/compare.py RUN RUN ... --output DIR

A RUN is the folder of a training (its checkpoint/best.ckpt is evaluated on its validation split with its config.yml) or
a file written by `eval.py --result_json`. Writes comparison.svg and comparison.json to DIR.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from ocrnet import errors
from ocrnet.evaluation.report import render
from ocrnet.runtime import device, program

Scores = dict[str, float | None]
"""mIoU, then the IoU of each class; None if the class is absent in the labels or unknown to the run."""


def evaluate_run(folder: Path) -> dict:
    """Returns the results of the best checkpoint of a run, as written by `--result_json`."""
    from ocrnet.config.loading import load_config
    from ocrnet.data.splits import open_dataset
    from ocrnet.evaluation.evaluator import Evaluator
    from ocrnet.inference.network import load_network
    from ocrnet.inference.predictor import Predictor

    config = load_config(folder / "config.yml")
    device.init(config.device_target, config.ms_mode, config.seed, config.device.options)
    dataset = open_dataset(config.data, "val")
    network = load_network(config, folder / "checkpoint" / "best.ckpt")
    return Evaluator(Predictor(network, config), dataset, config).evaluate().to_dict(config)


def read_scores(run: Path) -> Scores:
    """Returns the scores of a run. Raises UserError if `run` is neither a run's folder nor a result file."""
    try:
        result = evaluate_run(run) if run.is_dir() else json.loads(run.read_text(encoding="utf-8"))
        return {"mIoU": result["miou"], **result["iou"]}
    except OSError as error:
        raise errors.UserError(f"{run}: cannot read this run: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        if run.is_dir():
            raise
        raise errors.UserError(f"{run}: not a file written by eval.py --result_json") from None


def table(runs: dict[str, Scores], classes: list[str]) -> str:
    """Returns a table in per cent with a row per class and a column per run; * marks the best run of a row."""
    width = max(12, *map(len, classes))
    widths = [max(9, len(name)) for name in runs]
    lines = [" " * width + "".join(f"  {name:>{wide}}" for name, wide in zip(runs, widths, strict=True))]
    for name in classes:
        scores = [run.get(name) for run in runs.values()]
        known = [score for score in scores if score is not None]
        cells = [
            "absent " if score is None else f"{100 * score:.2f}{'*' if len(known) > 1 and score == max(known) else ' '}"
            for score in scores
        ]
        lines.append(f"{name:<{width}}" + "".join(f"  {c:>{wide}}" for c, wide in zip(cells, widths, strict=True)))
    return "\n".join(lines)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, or its result.json")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    return parser


def main() -> None:
    args = make_parser().parse_args()

    runs = {str(path): read_scores(path) for path in args.runs}
    classes = list(dict.fromkeys(name for scores in runs.values() for name in scores))
    print(table(runs, classes))
    rows = [(name, [scores.get(name) for scores in runs.values()]) for name in classes]
    errors.write_text(args.output / "comparison.svg", render("comparison.svg", runs=list(runs), rows=rows))
    errors.write_text(args.output / "comparison.json", json.dumps(runs, indent=1))
    print(f"plot: {args.output / 'comparison.svg'}")


if __name__ == "__main__":
    sys.exit(program.run(main))
