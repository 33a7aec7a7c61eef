"""A placeholder for a module that another project imports but its OCRNet never calls.

Uses only the standard library, because it runs in the environments of the other projects.
"""

import types


class Absent(types.ModuleType):
    """A module in which every name is an empty class, e.g. for mmcv's compiled operators, which mmcv-lite lacks."""

    __path__: tuple = ()

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})
