"""A program that uses `import ocrnet`: tests/test_types.py checks its types. It is never run."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL.Image import Image
from typing_extensions import assert_type

import ocrnet
from ocrnet import Model, Result, UserError
from ocrnet.evaluation.evaluator import Scores
from ocrnet.inference.media import Video
from ocrnet.models.ocrnet import OCRNet


def predict(files: list[str], paths: list[Path]) -> None:
    model = ocrnet.load("runs/ocrnet_demo", device="CPU", multi_scale=True)
    assert_type(model, Model)
    assert_type(model.names, list[str])
    result = model.predict("street.jpg")
    assert_type(result, Result)
    assert_type(result.overlay(), Image)
    assert_type(result.fractions, dict[str, float])
    assert_type(model.predict(np.zeros((64, 128, 3), np.uint8)), Result)
    assert_type(model.predict(files), list[Result])
    assert_type(model.predict(paths), list[Result])
    assert_type(model.predict(iter(paths)), Iterator[Result])


def video(model: Model) -> None:
    try:
        frames = ocrnet.open_video("street.mp4")
    except UserError:
        return
    assert_type(frames, Video)
    assert_type(model.predict(frames), Iterator[Result])


def others(model: Model) -> None:
    assert_type(ocrnet.list_models("*cityscapes*"), list[str])
    assert_type(ocrnet.create_model("ocrnet_demo", num_classes=3), OCRNet)
    assert_type(ocrnet.evaluate(model, "data/cityscapes"), Scores)
    assert_type(ocrnet.__version__, str)


def wrong_use(model: Model) -> None:
    """Each line must be an error: pyright reports an ignored line that has none."""
    ocrnet.lod("runs/ocrnet_demo")  # pyright: ignore[reportAttributeAccessIssue]
    model.predict(3)  # pyright: ignore[reportArgumentType, reportCallIssue]
    ocrnet.create_model("ocrnet_demo", num_classes="three")  # pyright: ignore[reportArgumentType]
