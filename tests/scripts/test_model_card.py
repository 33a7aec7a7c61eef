import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from ocrnet.evaluation.metrics import ConfusionMatrix
from ocrnet.files import sha256
from ocrnet.training.checkpoint import CheckpointFolder, describe_checkpoint
from ocrnet.training.run_progress import Progress
from ocrnet.weights.ckpt import read_checkpoint


def front_matter(card: str) -> dict:
    """The YAML between the first two lines of ---."""
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1])


def table(card: str) -> dict[str, str]:
    """{first cell: second cell} of every row of two cells."""
    rows = [line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("| ")]
    return {row[0]: row[1] for row in rows if len(row) == 2}


@pytest.fixture
def result(untrained, tmp_path) -> Path:
    """A file of eval.py --result_json: the class `bicycle` does not occur."""
    matrix = ConfusionMatrix(untrained.config.data.classes)
    label = np.random.default_rng(0).integers(0, 18, (40, 40)).astype(np.uint8)
    prediction = label.copy()
    prediction[:10] = 0
    matrix.update(label, prediction)
    path = tmp_path / "result.json"
    evaluated = {"split": "val", "sha256": sha256(untrained.path), "failed": ["a pair"]}
    path.write_text(json.dumps({"evaluated": evaluated, **matrix.to_dict()}))
    return path


def test_the_scores_are_those_of_the_evaluation(run_script, untrained, result, tmp_path):
    card, report = tmp_path / "card" / "README.md", tmp_path / "a report"
    report.mkdir()
    (report / "index.html").touch()
    flags = ["--result_json", result, "--report", report, "--licence", "MIT", "--name", "Street | scenes"]
    done = run_script("scripts/model_card.py", untrained.path.parents[1], "--output", card, *flags)
    assert done.returncode == 0, done.stderr
    text, scores = card.read_text(), json.loads(result.read_text())
    known = front_matter(text)
    assert known["license"] == "mit" and known["library_name"] == "mindspore"
    assert known["datasets"] == ["demo"] and known["metrics"] == ["mean_iou", "accuracy"]
    ((name, (entry,)),) = [(model["name"], model["results"]) for model in known["model-index"]]
    assert name == "Street | scenes"
    assert entry["task"]["type"] == "image-segmentation"
    assert entry["dataset"] == {"type": "demo", "name": "demo", "split": "val"}
    assert {metric["type"]: metric["value"] for metric in entry["metrics"]} == {
        "mean_iou": scores["miou"],
        "accuracy": scores["pixel_accuracy"],
    }
    cells = table(text)
    assert "By `ocrnet eval` on 1 images of the split `val`; 1 failed." in text
    assert cells["mIoU"] == f"{100 * scores['miou']:.2f} %"
    assert cells["road"] == f"{100 * scores['iou']['road']:.2f}" and cells["bicycle"] == "absent"
    lowest = min(value for value in scores["iou"].values() if value is not None)
    assert f"the lowest IoU is {100 * lowest:.2f} %" in text
    assert "(../a%20report/index.html)" in text and "\n# Street \\| scenes\n" in text
    assert "No licence" not in text


@pytest.mark.parametrize(
    ("language", "unlicensed"), [("en", "**No licence is stated.**"), ("zh", "**尚未声明许可证。**")]
)
def test_what_is_not_known_is_not_made_up(run_script, untrained, tmp_path, language, unlicensed):
    card = tmp_path / "README.md"
    run = untrained.path.parents[1]
    done = run_script("scripts/model_card.py", run, "--output", card, "--language", language)
    assert done.returncode == 0, done.stderr
    text = card.read_text()
    known = front_matter(text)
    assert not {"license", "metrics", "model-index"} & set(known)  # the fixture was never evaluated
    assert unlicensed in text and "no licence is stated" in done.stdout
    contents = describe_checkpoint(untrained.path)
    assert f"{contents.parameters / 1e6:.2f} M" in text and contents.checksum in text and contents.versions in text
    assert "18 bicycle" in text and "None" not in text


def test_the_best_score_of_the_training_and_the_number_of_devices(run_script, untrained, tmp_path):
    config = untrained.config.replace({"save_dir": tmp_path / "my run", "model.pretrained": "published"})
    folder = CheckpointFolder(config)
    folder.open(None, {})
    parameters = {name: value for name, value in read_checkpoint(untrained.path).items() if not isinstance(value, str)}
    samples = 8 * config.train.batch_size
    progress = Progress(step=310, samples=310 * samples, step_samples=samples, best_score=0.625, best_step=310)
    folder.save(parameters, progress, is_best=True)
    done = run_script("scripts/model_card.py", config.save_dir)
    assert done.returncode == 0, done.stderr
    text = (config.save_dir / "README.md").read_text()
    ((metric,),) = [entry["metrics"] for entry in front_matter(text)["model-index"][0]["results"]]
    assert metric == {"type": "mean_iou", "name": "mIoU", "value": 0.625}
    assert table(text)["mIoU"] == "62.50 %" and table(text)["devices"] == "8"
    assert "`model.pretrained: published` (random if they could not be had)" in text
    assert "mpirun -n 8 ocrnet train --config config.yml" in text
    assert 'model = ocrnet.load("checkpoint/best.ckpt")' in text
    assert "ocrnet predict image.jpg --model checkpoint/best.ckpt" in text

    again = run_script("scripts/model_card.py", config.save_dir)
    assert again.returncode == 2 and "README.md: exists" in again.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"miou": NaN, "pixel_accuracy": NaN, "iou": {}, "images": 0, "evaluated": {}}',
            "no image with labels was evaluated",
        ),
        ("{}", "not a file written by eval.py --result_json"),
        ("[", "cannot read these scores"),
        (
            '{"miou": 0.5, "pixel_accuracy": 0.5, "iou": {}, "images": 1, "evaluated": {"checkpoint": "other.ckpt"}}',
            "has the scores of other.ckpt, not of the weights in ",
        ),
    ],
)
def test_scores_of_something_else_are_an_error(run_script, untrained, tmp_path, content, message):
    (tmp_path / "result.json").write_text(content)
    flags = ["--result_json", tmp_path / "result.json", "--output", tmp_path / "card.md"]
    done = run_script("scripts/model_card.py", untrained.path.parents[1], *flags)
    assert done.returncode == 2 and message in done.stderr
    assert not (tmp_path / "card.md").exists()
