"""Where files lie: what the data sets' own modules share."""

from pathlib import Path

from ocrnet import files


def folder(root: Path, *inside: str, holds: str) -> Path:
    """`root`, or the first of the folders `inside` it, that has a sub-folder `holds`.

    So data.root may be the data set's own folder or the one that it was unpacked in.

    Raises:
        FileNotFoundError: none of them has it.
    """
    places = [Path(root), *(Path(root) / name for name in inside)]
    for place in places:
        if (place / holds).is_dir():
            return place
    tried = ", ".join(str(place / holds) for place in places)
    raise FileNotFoundError(f"no folder {tried}: set data.root / --dataset_dir to the folder that holds {holds}")


def existing(path: Path) -> Path:
    """`path`, which must be a folder. Raises FileNotFoundError."""
    if not path.is_dir():
        raise FileNotFoundError(f"no folder {path}: set data.root / --dataset_dir, or data.train and data.val")
    return path


def names(path: Path, hint: str = "") -> list[str]:
    """First word of each line of a split's list, which is a file name without its ending.

    Raises:
        FileNotFoundError: no such list (`hint` may say where it comes from), or one whose names leave the data set.
    """
    try:
        lines = files.read_text(path).splitlines()
    except OSError as error:
        raise FileNotFoundError(
            f"{path}: cannot read this list: {error.strerror}. Set data.root / --dataset_dir.{hint}"
        ) from None
    except UnicodeDecodeError:
        raise FileNotFoundError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    found = [line.split()[0] for line in lines if line.strip()]
    if outside := next((name for name in found if Path(name).is_absolute() or ".." in Path(name).parts), None):
        raise FileNotFoundError(f"{path}: {outside!r} leaves the data set")
    return found
