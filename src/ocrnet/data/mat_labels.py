"""Labels in MATLAB files, as SBD, PASCAL-Context and COCO-Stuff 10k come."""

from pathlib import Path

import numpy as np

from ocrnet.data import pascal_context


def read_mat(path: Path) -> np.ndarray:
    """(H, W) uint8 label values.

    SBD: GTcls.Segmentation, the 21 classes of VOC. COCO-Stuff 10k: S, 0 .. 182. PASCAL-Context: LabelMap, whose 459
    classes become 0 (background) and 1 .. 59.

    Raises:
        FileNotFoundError, ValueError: it is missing, or no such file.
    """
    from scipy.io import loadmat  # here, because importing it takes as long as all else that reads pictures

    try:
        found = loadmat(path, squeeze_me=True, struct_as_record=False, variable_names=["GTcls", "S", "LabelMap"])
    except FileNotFoundError:
        raise
    except Exception as error:  # the parser raises whatever it met
        raise ValueError(f"damaged or cut short? ({error})") from None
    try:
        if "GTcls" in found:
            values = found["GTcls"].Segmentation
        elif "LabelMap" in found:
            values = _CONTEXT[np.asarray(found["LabelMap"], np.int64)]
        else:
            values = found["S"]
    except (KeyError, AttributeError, IndexError):
        raise ValueError("holds none of GTcls.Segmentation (SBD), LabelMap (PASCAL-Context), S (COCO-Stuff)") from None
    if values.min() < 0 or values.max() > 255:
        raise ValueError(f"label values reach {values.min()} and {values.max()}; they must be 0 to 255")
    return np.atleast_2d(values).astype(np.uint8)


_CONTEXT = np.zeros(460, np.uint8)
_CONTEXT[list(pascal_context.IDS)] = np.arange(len(pascal_context.IDS))
