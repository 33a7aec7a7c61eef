"""OCRNet (Object-Contextual Representations, ECCV 2020) on MindSpore.

    import ocrnet
    model = ocrnet.load("ocrnet_hrnet_w18_small_cityscapes_mmseg_40k")
    model.predict("street.jpg").overlay().save("overlay.png")

MindSpore is imported when a name below is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ocrnet.errors import UserError
from ocrnet.runtime import device

if TYPE_CHECKING:
    from ocrnet.api import create_model, evaluate, load, open_video
    from ocrnet.inference.model import Model
    from ocrnet.inference.result import Result
    from ocrnet.zoo.published import list_models

__all__ = ["Model", "Result", "UserError", "create_model", "evaluate", "list_models", "load", "open_video"]

__version__ = "1.0.0"

device.prepare_environment()

_PLACES = {
    "Model": "ocrnet.inference.model",
    "Result": "ocrnet.inference.result",
    "list_models": "ocrnet.zoo.published",
    **dict.fromkeys(("create_model", "evaluate", "load", "open_video"), "ocrnet.api"),
}


if not TYPE_CHECKING:  # a type checker would take any name for one of this module

    def __getattr__(name: str) -> Any:
        # imported here: MindSpore takes seconds, and prepare_environment() must run before
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_PLACES]
