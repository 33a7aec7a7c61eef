"""What the sections of the configuration are made of: types of values, and their base class."""

from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):  # Python and pydantic take True for 1
        raise PydanticCustomError("number_type", "Input should be a number")
    return value


def _ascending(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise PydanticCustomError("range_type", "Input should be [smallest, largest]")
    return ends


Int = Annotated[int, BeforeValidator(_no_boolean)]
Float = Annotated[float, BeforeValidator(_no_boolean), Field(allow_inf_nan=False)]
Positive = Annotated[Int, Field(gt=0)]
Natural = Annotated[Int, Field(ge=0)]
Byte = Annotated[Int, Field(ge=0, le=255)]
Fraction = Annotated[Float, Field(ge=0, le=1)]
NonNegative = Annotated[Float, Field(ge=0)]
PositiveFloat = Annotated[Float, Field(gt=0)]
Dropout = Annotated[Float, Field(ge=0, lt=1)]
PositiveRange = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_ascending)]
Range = Annotated[tuple[NonNegative, NonNegative], AfterValidator(_ascending)]
Kernel = Annotated[Literal[1, 3], BeforeValidator(_no_boolean)]
Mode = Annotated[Literal[0, 1], BeforeValidator(_no_boolean)]


def kinds(annotation: Any) -> tuple:
    """The types that a union allows; the one type otherwise."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def is_text(annotation: Any) -> bool:
    """Whether all values of a key are paths, names or other text (or it is left out)."""

    def is_word(kind: Any) -> bool:
        return get_origin(kind) is Literal and all(isinstance(word, str) for word in get_args(kind))

    return all(kind in (str, Path, NoneType) or is_word(kind) for kind in kinds(annotation))


def choices(annotation: Any) -> tuple[Any, ...]:
    """The values of a key that has a few named ones; () for every other key."""
    words = [word for kind in kinds(annotation) if get_origin(kind) is Literal for word in get_args(kind)]
    return (True, False) if annotation is bool else tuple(words)


class Section(BaseModel):
    """A part of the configuration. Unknown keys are errors; the fields' descriptions document the keys.

    It does not change once it is validated: `replace` makes a copy with other values.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True)

    @classmethod
    def below(cls, path: tuple[str, ...]) -> "type[Section] | None":
        """The section that `path` leads to from here, None when there is none."""
        section: type[Section] | None = cls
        for name in path:
            field = section.model_fields.get(name) if section else None
            options = kinds(field.annotation) if field else ()
            section = next((kind for kind in options if isinstance(kind, type) and issubclass(kind, Section)), None)
        return section

    def replace(self: "AnySection", values: dict[str, Any]) -> "AnySection":
        """A copy with other values, {dotted key: value}, which are not validated again."""
        changed = self
        for key, value in values.items():
            name, _, rest = key.partition(".")
            part = getattr(changed, name).replace({rest: value}) if rest else value
            if name not in type(self).model_fields:
                raise KeyError(key)
            changed = changed.model_copy(update={name: part})
        return changed

    def _derive(self, **values: Any) -> None:
        """Set what follows from other keys, while this section is validated; `model_fields_set` has what was given."""
        self.__dict__.update(values)


AnySection = TypeVar("AnySection", bound=Section)
