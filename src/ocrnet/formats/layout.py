"""Helpers to find the files of a data set."""

from pathlib import Path

from ocrnet import files


def find_folder(root: Path, *subfolders: str, contains: str) -> Path:
    """Returns the first of `root` and its `subfolders` that contains the folder `contains`.

    So data.root may be the folder of the data set or its parent folder.

    Raises:
        FileNotFoundError: none of them contains it.
    """
    candidates = [Path(root), *(Path(root) / name for name in subfolders)]
    for candidate in candidates:
        if (candidate / contains).is_dir():
            return candidate
    tried = ", ".join(str(candidate / contains) for candidate in candidates)
    raise FileNotFoundError(f"no folder {tried}: set data.root (--data_root) to the folder that contains {contains}")


def existing_folder(path: Path) -> Path:
    """Returns `path` if it is a folder. Raises FileNotFoundError otherwise."""
    if not path.is_dir():
        raise FileNotFoundError(f"no folder {path}: set data.root (--data_root), or data.train and data.val")
    return path


def read_names(path: Path, hint: str = "") -> list[str]:
    """Returns the first word of each line of a split's list: a file name without its suffix.

    Raises:
        FileNotFoundError: the list cannot be read (`hint` is added to the message), or a name is outside the data set.
    """
    try:
        lines = files.read_text(path).splitlines()
    except OSError as error:
        raise FileNotFoundError(
            f"{path}: cannot read this list: {error.strerror}. Set data.root (--data_root).{hint}"
        ) from None
    except UnicodeDecodeError:
        raise FileNotFoundError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    found = [line.split()[0] for line in lines if line.strip()]
    if outside := next((name for name in found if Path(name).is_absolute() or ".." in Path(name).parts), None):
        raise FileNotFoundError(f"{path}: {outside!r} is outside the data set")
    return found
