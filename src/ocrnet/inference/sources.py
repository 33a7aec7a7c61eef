"""Finds the config and the weights of a network: of a published name, a config, a run's folder or a checkpoint."""

from dataclasses import dataclass, field
from pathlib import Path

from ocrnet.config import Config, StoredConfig, load_config
from ocrnet.config.loading import find_config
from ocrnet.errors import UserError, did_you_mean
from ocrnet.weights.ckpt import read_checkpoint, stored_config
from ocrnet.zoo import cached_weights
from ocrnet.zoo.conversion import convert_file, reject_problems
from ocrnet.zoo.published import PublishedFile, PublishedModel, find_model, models


@dataclass
class ModelSource:
    """Where a network comes from."""

    config: Path | StoredConfig
    checkpoint: Path
    settings: dict[str, object] = field(default_factory=dict)
    """{dotted key: value} that the weights need."""
    stored: dict | None = None
    """The content of the checkpoint, if it was read."""


def find_source(source: str | Path, weights: str | Path | None = None) -> ModelSource:
    """Finds a network; fetches the weights of a published one.

    Args:
        source: a name of `list_models`, a config, the folder of a run, or a checkpoint with its configuration.
        weights: a checkpoint, instead of the one that belongs to `source`.

    Raises:
        UserError: nothing has this name, or its weights cannot be had.
    """
    path = Path(source)
    given = Path(weights) if weights is not None else None
    if given and given.suffix in (".pth", ".pt", ".safetensors", ".pdparams"):
        raise UserError(f"{given}: convert this file first: ocrnet convert --input {given} --source PROJECT ...")
    if path.is_dir():
        return _of_checkpoint(given or checkpoint_of_run(path))
    if path.suffix == ".ckpt":
        if given:
            raise UserError(f"{path}, {given}: both are weights. Give one of them, or a config and weights.")
        return _of_checkpoint(path)
    if path.suffix in (".yml", ".yaml"):
        return ModelSource(find_config(path), given or load_config(path).save_dir / "checkpoint" / "best.ckpt")
    if str(source) not in models():
        shipped = find_config(Path("config", "ocrnet", f"{source}.yml"))
        if shipped.is_file() and given:
            return ModelSource(shipped, given)
        hint = did_you_mean(str(source), models()) or " `ocrnet models` lists the published networks."
        raise UserError(f"{source}: no published network, config, run folder or checkpoint of this name.{hint}")
    if given:
        return ModelSource(find_config(models()[str(source)].config), given)
    model = find_model(str(source))
    return ModelSource(find_config(model.config), fetch_model(model), model.settings)


def _of_checkpoint(path: Path) -> ModelSource:
    stored = read_checkpoint(path)
    return ModelSource(stored_config(path, stored), path, stored=stored)


def checkpoint_of_run(folder: Path) -> Path:
    """Returns the best checkpoint of a run, or the latest one if there is no best.

    Raises:
        UserError: the folder has neither.
    """
    candidates = [folder / "checkpoint" / name for name in ("best.ckpt", "latest.ckpt")]
    found = next((file for file in candidates if file.is_file()), None)
    if found is None:
        raise UserError(f"{folder}: not the folder of a run: it has no checkpoint/best.ckpt or checkpoint/latest.ckpt")
    return found


def fetch_model(model: PublishedModel) -> Path:
    """Returns the converted weights of a published network in the cache; fetches them if they are not there.

    Raises:
        UserError: its weights are not published; see also `cached_weights.fetch`.
    """
    overrides = {key: (value, f"the weights of {model.name}") for key, value in model.settings.items()}

    def convert(file: Path, output: Path) -> None:
        config = load_config(model.config, overrides)
        converted = convert_file(file, model.publisher.source, config)
        reject_problems(file, converted, model.config)
        converted.save(output)

    if model.file is None:
        raise UserError(f"{model.name}: {model.publisher.name} did not publish its weights")
    return cached_weights.fetch(model.file, convert)


def fetch_backbone(published: PublishedFile, config: Config) -> Path:
    """Returns the converted ImageNet weights of a backbone in the cache; fetches them if they are not there.

    Args:
        config: a config with this backbone.

    Raises:
        UserError: see `cached_weights.fetch`.
    """

    def convert(file: Path, output: Path) -> None:
        converted = convert_file(file, published.publisher.source, config, backbone_only=True)
        reject_problems(file, converted, f"model.backbone {config.model.backbone}")
        converted.save(output)

    return cached_weights.fetch(published, convert)
