"""Mixed precision of a network."""

from mindspore import float16, float32, nn


def set_precision(network: nn.Cell, level: str) -> None:
    """Mixed precision in place. BatchNorm stays in float32 at every level, and so does all that is outside `network`.

    O0: nothing. O2: convolutions in float16, the rest in float32. O3: everything but BatchNorm in float16.
    """
    if level == "O0":
        return
    if level == "O3":
        network.to_float(float16)
    for _, cell in network.cells_and_names():
        if level == "O2" and isinstance(cell, nn.Conv2d):
            cell.to_float(float16)
        if isinstance(cell, nn.BatchNorm2d):
            cell.to_float(float32)
