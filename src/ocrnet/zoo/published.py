"""The published networks and ImageNet weights: names, addresses, checksums, scores."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import yaml

from ocrnet.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Publisher:
    """A project that published weights."""

    name: str
    source: str
    """Its key in `weights.published.RULES`."""
    licence: str
    """Licence of the project, as an SPDX identifier. The data set may have terms of its own."""


PUBLISHERS = {  # by a part of the config's name
    "mmseg": Publisher("mmsegmentation", "mmseg", "Apache-2.0"),
    "ssseg": Publisher("sssegmentation", "ssseg", "MIT"),
    "hrnet_ocr": Publisher("HRNet-OCR", "hrnet-ocr", "MIT"),
    "paddleseg": Publisher("PaddleSeg", "paddleseg", "Apache-2.0"),
    "hrw": Publisher("mindspore-lab", "mindspore-lab", "Apache-2.0"),
}
MINDCV = Publisher("mindcv", "mindcv", "Apache-2.0")


@dataclass(frozen=True)
class PublishedFile:
    """A weight file that a project published."""

    name: str
    url: str
    publisher: Publisher

    @property
    def file_name(self) -> str:
        """Its name in the cache and on a mirror: the one in the address, if that identifies the network."""
        last = self.url.rpartition("/")[2]
        return last if not last.startswith("model.") else f"{self.name}{Path(last).suffix}"

    @property
    def sha256(self) -> str:
        """The first hexadecimal digits of its SHA-256, which its publisher put into the address; "" without them."""
        match = re.search(r"-([0-9a-f]{8})\.\w+$", self.url)
        return match[1] if match else ""


@dataclass(frozen=True)
class PublishedModel:
    """A published network. `name` is the name of its config in config/ocrnet/, without the suffix."""

    name: str
    publisher: Publisher
    data_set: str
    params_m: float
    """Trainable parameters in millions."""
    gflops: float
    """10^9 operations, 2 per multiply-add, of one 512 x 1024 forward pass."""
    miou: float | None = None
    """Published mIoU in percent."""
    miou_flip: float | None = None
    """Published mIoU in percent with the mirrored image."""
    miou_ms_flip: float | None = None
    """Published mIoU in percent with several scales and the mirrored image."""
    miou_test: float | None = None
    """Published mIoU in percent with both, on the test set."""
    weights: str | None = None
    """Address of the weights; None if they are not published."""

    @property
    def config(self) -> str:
        """Path of its config in the repository."""
        return f"config/ocrnet/{self.name}.yml"

    @property
    def settings(self) -> dict[str, object]:
        """Config keys that the published weights need and the config does not have, because it trains a new network."""
        # the published HRNets of sssegmentation are from before 1.7.0
        old = self.publisher.name == "sssegmentation" and "_hrnet_" in self.name
        return {"model.stem_relu": False} if old else {}

    @property
    def file(self) -> PublishedFile | None:
        return PublishedFile(self.name, self.weights, self.publisher) if self.weights else None


@cache
def models() -> dict[str, PublishedModel]:
    """Returns {name: network} of models.yml.

    Raises:
        ValueError: a name has no part that is in PUBLISHERS.
    """
    found = {}
    for name, values in _read("models.yml").items():
        publisher = publisher_of(name)
        if publisher is None:
            raise ValueError(f"models.yml: {name}: its name has none of {', '.join(PUBLISHERS)}")
        found[name] = PublishedModel(name, publisher, **values)
    return found


@cache
def backbones() -> dict[str, PublishedFile]:
    """Returns {name: file} of backbones.yml: ImageNet weights for `model.pretrained`."""
    publishers = {"mindcv": MINDCV, "mmseg": PUBLISHERS["mmseg"]}
    return {
        name: PublishedFile(name, values["weights"], publishers[values["source"]])
        for name, values in _read("backbones.yml").items()
    }


def publisher_of(name: str) -> Publisher | None:
    """Returns who published the config of this name; None for configs of this repository."""
    return next((publisher for part, publisher in PUBLISHERS.items() if part in name), None)


def _read(name: str) -> dict[str, dict]:
    return yaml.safe_load(Path(__file__).with_name(name).read_text(encoding="utf-8"))


def list_models(pattern: str = "*") -> list[str]:
    """Returns the names of the published networks whose weights `load` can fetch, sorted.

    Args:
        pattern: shell pattern of names: `*` matches any text, `?` one character.

    Example:
        >>> import ocrnet
        >>> ocrnet.list_models("*w18_small_cityscapes_mmseg*")
        ['ocrnet_hrnet_w18_small_cityscapes_mmseg_160k', 'ocrnet_hrnet_w18_small_cityscapes_mmseg_40k', \
'ocrnet_hrnet_w18_small_cityscapes_mmseg_80k']
    """
    return sorted(name for name, model in models().items() if model.weights and fnmatchcase(name, pattern))


def find_model(name: str) -> PublishedModel:
    """Returns a published network with weights.

    Raises:
        UserError: there is no network of this name, or its weights are not published.
    """
    model = models().get(name)
    if model is None:
        hint = did_you_mean(name, models()) or " `ocrnet models` lists the published networks."
        raise UserError(f"{name}: no published network of this name.{hint}")
    if not model.weights:
        raise UserError(f"{name}: {model.publisher.name} did not publish its weights; train it with {model.config}")
    return model
