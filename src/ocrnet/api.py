"""The Python interface: what `import ocrnet` offers."""

from pathlib import Path
from typing import Any

from ocrnet.config import load_config
from ocrnet.data.splits import open_dataset
from ocrnet.errors import UserError
from ocrnet.evaluation.evaluator import Evaluator, Scores
from ocrnet.inference import media
from ocrnet.inference.media import Video
from ocrnet.inference.model import Model
from ocrnet.inference.sources import fetch_model, find_source
from ocrnet.models.ocrnet import OCRNet
from ocrnet.runtime.device import connect, execution_mode
from ocrnet.weights.ckpt import load_for_fine_tuning
from ocrnet.zoo.published import find_model, models


def load(
    source: str | Path,
    weights: str | Path | None = None,
    device: str | None = None,
    engine: str = "mindspore",
    precision: str = "fp32",
    **eval_keys: Any,
) -> Model:
    """Loads a trained network.

    Args:
        source: a name of `list_models()`, whose weights are fetched once; a config; the folder of a run; or a
            checkpoint.
        weights: a checkpoint (.ckpt), instead of the one that belongs to `source`.
        device: Ascend, GPU or CPU; None: the first one that has a device. One process uses one device.
        engine: mindspore, or on a CPU onnxruntime or openvino.
        precision: fp32; with openvino also bf16 or int8.
        **eval_keys: keys of the config's `eval` section, such as `multi_scale=True` or `window=(512, 1024)`; and
            `test_size=(height, width)`, to which images are resized before the network.

    Raises:
        UserError: the network is unknown, its weights cannot be had or read, or a value is wrong.

    Example:
        >>> import ocrnet
        >>> model = ocrnet.load(checkpoint)
        >>> result = model.predict(photo)
        >>> result.classes.dtype
        dtype('uint8')
    """
    found = find_source(source, weights)
    overrides = {key: (value, "the published weights") for key, value in found.settings.items()}
    overrides["train.amp"] = ("none", "ocrnet.load")  # `precision` says what to compute with
    sections = {"test_size": "data"}  # where the config has the keys of the evaluation; the others are in `eval`
    overrides |= {
        f"{sections.get(key, 'eval')}.{key}": (value, f"ocrnet.load: {key}") for key, value in eval_keys.items()
    }
    config = load_config(found.config, overrides)
    connect(device, config.device.options)
    return Model(config, found.checkpoint, engine, precision, stored=found.stored)


def create_model(name: str, num_classes: int, pretrained: str | Path | None = None) -> OCRNet:
    """Creates a network for a training loop of one's own.

    Args:
        name: a name of `list_models()` or of another config, or a config file: it says which network.
        num_classes: number of classes.
        pretrained: None: random weights; "published": the published weights of `name`; or a checkpoint. With another
            number of classes, the classifiers keep random weights.

    Returns:
        the network in training mode. It maps normalised images (N, 3, H, W) float32 to (main logits, auxiliary logits).

    Raises:
        UserError: the network is unknown, or its weights cannot be had or read.

    Example:
        >>> import ocrnet
        >>> network = ocrnet.create_model("ocrnet_demo", num_classes=3)
        >>> network.ocr_head.classifier.weight.shape[0]
        3
    """
    known = models().get(name)
    config_path = known.config if known else name if Path(name).suffix else f"config/ocrnet/{name}.yml"
    published = pretrained == "published"
    overrides = {key: (value, name) for key, value in known.settings.items()} if known and published else {}
    config = load_config(config_path, overrides)
    network = OCRNet(config.model, num_classes).set_train()
    if pretrained:
        same = num_classes == len(config.data.classes)
        classes = config.data.classes if same else [f"class {index}" for index in range(num_classes)]
        path = fetch_model(find_model(name)) if published else Path(pretrained)
        print(load_for_fine_tuning(network, path, config, classes))
    return network


def open_video(path: str | Path) -> Video:
    """Opens a video or an animated image: an iterable of frames (H, W, 3) uint8 RGB, for `Model.predict`.

    Raises:
        UserError: the file is not a readable video.
    """
    video = media.open_video(Path(path))
    if video is None:
        raise UserError(f"{path}: not a video or an animated image")
    return video


def evaluate(model: Model, data_set: str | Path, split: str = "val") -> Scores:
    """Evaluates a network on a data set.

    Args:
        data_set: folder of a data set in the layout of the model's config (`data.format`), or a config file with
            another data set of the same classes.
        split: train or val.

    Returns:
        the scores: `scores.matrix.miou`, `scores.table(model.config)`.

    Raises:
        UserError: the data set cannot be read.
    """
    source = Path(data_set)
    if source.suffix in (".yml", ".yaml"):
        data = load_config(source).data
        if data.classes != model.names:
            raise UserError(f"{source}: its {len(data.classes)} classes are not the {len(model.names)} of the network")
    else:
        data = model.config.data.replace({"root": source})
    config = model.config.replace({"data": data})
    with execution_mode(config.ms_mode):
        return Evaluator(model.predictor, open_dataset(data, split), config).evaluate()
