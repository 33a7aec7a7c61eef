"""Stands for a module that another program imports and its OCRNet never calls. The standard library alone: it runs in
the peers' environments."""

import types


class Absent(types.ModuleType):
    """Every name in it is an empty class, such as mmcv's compiled operators, which mmcv-lite does not have."""

    __path__: tuple = ()

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})
