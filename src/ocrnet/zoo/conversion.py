"""Converts a weight file of another project to this program's network of a config."""

from pathlib import Path
from typing import NamedTuple

from ocrnet.config import Config
from ocrnet.errors import UserError
from ocrnet.models.ocrnet import OCRNet
from ocrnet.weights.ckpt import save_weights
from ocrnet.weights.foreign_files import read_tensors
from ocrnet.weights.published import Conversion, convert


class ConvertedFile(NamedTuple):
    """The result of `convert_file`."""

    conversion: Conversion
    others: list[str]
    """Names of the file's entries that are not tensors."""
    config: Config
    backbone_only: bool

    def save(self, output: Path) -> None:
        """Writes the weights to a .ckpt, atomically: a network with its config, or a backbone for `model.pretrained`.

        Raises:
            UserError: the file cannot be written.
        """
        if self.backbone_only:
            backbone = {name.removeprefix("backbone."): value for name, value in self.conversion.weights.items()}
            save_weights(output, backbone)
        else:
            save_weights(output, self.conversion.weights, self.config)


def convert_file(file: Path, source: str, config: Config, backbone_only: bool = False) -> ConvertedFile:
    """Reads a weight file and renames its tensors to those of the network of `config`.

    Tensors that are missing, have another shape or belong to a larger network are in `conversion.problems`.

    Args:
        source: a key of `weights.published.RULES`.
        backbone_only: for the backbone only: ImageNet weights.

    Raises:
        UserError: the file cannot be read.
    """
    network = OCRNet(config.model, len(config.data.classes))
    expected = {
        name: tuple(parameter.shape)
        for name, parameter in network.parameters_dict().items()
        if name.startswith("backbone.") or not backbone_only
    }
    tensors, others = read_tensors(file)
    return ConvertedFile(convert(source, tensors, expected), others, config, backbone_only)


def reject_problems(file: Path, converted: ConvertedFile, config_name: str) -> None:
    """Raises UserError if tensors of the network are missing in the file or have another shape, or it has more."""
    if converted.conversion.problems:
        config = converted.config
        part = "backbone" if converted.backbone_only else "network"
        raise UserError(
            f"{file}: does not match the {part} ({config.model.backbone}, {len(config.data.classes)} classes) of "
            f"{config_name}; nothing was written",
            converted.conversion.problems,
        )
