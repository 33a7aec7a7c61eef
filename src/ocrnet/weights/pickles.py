"""Unpickles without running code: a name that is not in a table of known ones becomes a placeholder."""

import pickle
import pickletools
from collections.abc import Mapping
from typing import Any, BinaryIO


class Placeholder:
    """Replaces any other class or function of a pickle: accepts all arguments and does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "Placeholder":
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, value: Any) -> None: ...

    def extend(self, values: Any) -> None: ...


class SafeUnpickler(pickle.Unpickler):
    """Unpickles Python's own types and the names in `known`, {(module, name): replacement}.

    Args:
        file: can seek.
        encoding: of texts that Python 2 wrote.
    """

    def __init__(self, file: BinaryIO, known: Mapping[tuple[str, str], Any], encoding: str = "utf-8") -> None:
        super().__init__(file, encoding=encoding)
        self._file, self._known = file, known

    def find_class(self, module: str, name: str) -> Any:
        return self._known.get((module, name), Placeholder)

    def load(self) -> Any:
        """Returns the content of the next pickle in the file.

        Raises:
            Exception: of any kind, if the pickle is damaged.
        """
        position = self._file.tell()
        for number, (operation, argument, _) in enumerate(pickletools.genops(self._file)):
            # objects are numbered as they come; Python's unpickler makes a table as long as the largest number
            if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > number:
                raise pickle.UnpicklingError("an object has a number that is too large")
        self._file.seek(position)
        return super().load()
