"""Write a model card for a run: README.md, as Hugging Face and ModelScope show it.

    python scripts/model_card.py runs/ocrnet_demo
    python scripts/model_card.py runs/ocrnet_demo --result_json result.json --licence MIT --language zh

What the card says is in the checkpoint, which holds the configuration of its training, and in the result of eval.py.
What is not known is named. Without --licence the card says that the owner of the weights has to choose one.
"""

import argparse
import json
import math
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import yaml

import ocrnet  # noqa: F401  sets the environment
from ocrnet import errors, files
from ocrnet.config import Config, command_line, load_config
from ocrnet.errors import UserError
from ocrnet.evaluation.report import render
from ocrnet.inference.sources import checkpoint_of_run
from ocrnet.runtime import program
from ocrnet.training.checkpoint import Contents, describe_checkpoint


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run; its best checkpoint is described")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="default: RUN/README.md")
    parser.add_argument(
        "--overwrite", type=command_line.parse_bool, default=False, help="True: replace an existing card"
    )
    parser.add_argument(
        "--result_json",
        type=Path,
        metavar="FILE.json",
        help="scores of this checkpoint on its data set by eval.py; default: the best mIoU in the checkpoint",
    )
    parser.add_argument("--report", type=Path, metavar="DIR", help="folder of eval.py --report; default: RUN/report")
    parser.add_argument("--licence", metavar="ID", help="licence of the weights, such as MIT; default: not stated")
    parser.add_argument("--name", help="name of the network; default: the name of the folder")
    parser.add_argument("--data_set", metavar="NAME", help="name of the data set; default: the name of its folder")
    parser.add_argument("--language", choices=["en", "zh"], default="en", help="language of the text (default en)")
    return parser


def main() -> None:
    args = make_parser().parse_args()
    checkpoint = checkpoint_of_run(args.run)
    output = args.output or args.run / "README.md"
    if output.exists() and not args.overwrite:
        raise UserError(f"{output}: exists; choose another --output, or --overwrite True")
    contents = describe_checkpoint(checkpoint)
    config = load_config(contents.require_config())
    scores = read_scores(args.result_json, checkpoint) if args.result_json else stored_score(contents)
    report = find_report(args.run, args.report)
    name = args.name or args.run.resolve().name
    data_set = args.data_set or config.data.root.name or config.data.format
    iou = scores.get("iou", {})
    found = {class_: value for class_, value in iou.items() if value is not None}
    weights = os.path.relpath(checkpoint, output.parent)
    text = render(
        f"model_card.{args.language}.md",
        front=front_matter(name, config, data_set, args.licence, scores),
        name=escape(name),
        data_set=escape(data_set),
        licence=args.licence,
        config=config,
        classes=config.data.classes,
        parameters=contents.parameters,
        progress=contents.progress,
        devices=devices(contents, config),
        scores=scores,
        rows=[(escape(class_), iou.get(class_)) for class_ in config.data.classes],
        lowest=[escape(min(found, key=found.get)), min(found.values())] if found else None,
        report=report and quote(os.path.relpath(report, output.parent)),
        initial=initial_weights(config),
        commands=commands(weights, devices(contents, config)),
        weights=weights,
        weights_link=quote(weights),
        size=checkpoint.stat().st_size,
        checksum=contents.checksum,
        versions=contents.versions,
    )
    errors.write_text(output, text)
    print(f"{output}: model card of {checkpoint}")
    if not args.licence:
        print("no licence is stated: choose one with --licence before you publish the weights")


def read_scores(path: Path, checkpoint: Path) -> dict[str, Any]:
    """Returns the content of a file of `eval.py --result_json`.

    Raises:
        UserError: the file cannot be read, is not such a file, or has the scores of another checkpoint.
    """
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot read these scores: {error}") from None
    kinds = {"miou": float, "pixel_accuracy": float, "iou": dict, "images": int, "evaluated": dict}
    if not isinstance(scores, dict) or any(not isinstance(scores.get(key), kind) for key, kind in kinds.items()):
        raise UserError(f"{path}: not a file written by eval.py --result_json")
    if not math.isfinite(scores["miou"]):
        raise UserError(f"{path}: has no mIoU: no image with labels was evaluated")
    evaluated = scores["evaluated"]
    if evaluated.get("sha256") != files.sha256(checkpoint):
        raise UserError(f"{path}: has the scores of {evaluated.get('checkpoint')}, not of the weights in {checkpoint}")
    return scores


def stored_score(contents: Contents) -> dict[str, Any]:
    """Returns {"miou": best validation mIoU} if the checkpoint is the one that had it; otherwise {}."""
    miou = contents.progress.miou if contents.progress else None
    return {} if miou is None else {"miou": miou}


def find_report(run: Path, given: Path | None) -> Path | None:
    """Returns the page of the report, if there is one. Raises UserError if the given folder has none."""
    page = (given or run / "report") / "index.html"
    if page.is_file():
        return page
    if given:
        raise UserError(f"--report {given}: has no index.html; eval.py --report writes it")
    return None


def devices(contents: Contents, config: Config) -> int:
    """Returns the number of devices at the start of the run; 0 if it is not stored."""
    samples = contents.progress.step_samples if contents.progress else 0
    return samples // (config.train.batch_size * config.train.accumulate_steps)


def initial_weights(config: Config) -> tuple[str, str] | None:
    """Returns the key of the configuration that names the weights that the training began with, and its value."""
    model = config.model
    if model.checkpoint:
        return "model.checkpoint", str(model.checkpoint)
    return ("model.pretrained", str(model.pretrained)) if model.pretrained else None


def front_matter(name: str, config: Config, data_set: str, licence: str | None, scores: dict[str, Any]) -> str:
    """Returns the metadata as YAML.

    The keys are those of Hugging Face; `tasks` and `frameworks` are ModelScope's. The scores are fractions, as in the
    file of eval.py.
    """
    identifier = re.sub(r"[^\w./-]+", "-", data_set)
    metrics = [
        {"type": kind, "name": title, "value": scores[key]}
        for key, kind, title in (("miou", "mean_iou", "mIoU"), ("pixel_accuracy", "accuracy", "pixel accuracy"))
        if key in scores
    ]
    result = {
        "task": {"type": "image-segmentation", "name": "semantic segmentation"},
        "dataset": {"type": identifier, "name": data_set, "split": scores.get("evaluated", {}).get("split", "val")},
        "metrics": metrics,
    }
    family = re.match(r"[a-z]+", config.model.backbone)
    known = {
        **licence_keys(licence),
        "library_name": "mindspore",
        "frameworks": ["mindspore"],
        "pipeline_tag": "image-segmentation",
        "tasks": ["image-segmentation"],
        "tags": ["semantic-segmentation", "ocrnet", *([family[0]] if family else []), "mindspore"],
        "datasets": [identifier],
    }
    if metrics:
        known["metrics"] = [metric["type"] for metric in metrics]
        known["model-index"] = [{"name": name, "results": [result]}]
    text = yaml.safe_dump(known, sort_keys=False, allow_unicode=True, width=120)
    return text if licence else f"# license: not stated; the owner of the weights must choose it\n{text}"


def licence_keys(licence: str | None) -> dict[str, str]:
    """Returns the keys of a licence: identifiers in lower case; other text is the name of a licence without one."""
    if not licence:
        return {}
    if re.fullmatch(r"[\w.+-]+", licence):
        return {"license": licence.lower()}
    return {"license": "other", "license_name": licence}


def commands(weights: str, ranks: int) -> dict[str, str]:
    """Returns blocks of commands: how the network was trained, how to use it in Python and in a terminal."""
    start, file = f"mpirun -n {ranks} " if ranks > 1 else "", shlex.quote(weights)
    blocks = {
        "train": ("bash", f"ocrnet show {file} --config True > config.yml\n{start}ocrnet train --config config.yml"),
        "python": (
            "python",
            f"import ocrnet\nmodel = ocrnet.load({json.dumps(weights, ensure_ascii=False)})\n"
            'model.predict("image.jpg").overlay().save("overlay.png")',
        ),
        "predict": ("bash", f"ocrnet predict image.jpg --model {file}"),
    }
    return {kind: f"```{language}\n{text}\n```" for kind, (language, text) in blocks.items()}


def escape(text: str) -> str:
    """Returns text that Markdown shows as it is, in a table too."""
    return re.sub(r"([\\`*|<\[\]])", r"\\\1", text)


if __name__ == "__main__":
    sys.exit(program.run(main))
