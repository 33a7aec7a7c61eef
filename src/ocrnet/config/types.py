"""Value types of the configuration, and the base class of its sections."""

from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):  # Python and pydantic treat True as 1
        raise PydanticCustomError("number_type", "Input should be a number")
    return value


def _ascending(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise PydanticCustomError("range_type", "Input should be [smallest, largest]")
    return ends


def _fold(value: tuple[int, int]) -> tuple[int, int]:
    if value[0] >= value[1] or value[1] < 2:
        raise PydanticCustomError("fold_type", "Input should be [fold, folds]: 2 folds or more, numbered from 0")
    return value


Int = Annotated[int, BeforeValidator(_no_boolean)]
Float = Annotated[float, BeforeValidator(_no_boolean), Field(allow_inf_nan=False)]
PositiveInt = Annotated[Int, Field(gt=0)]
NonNegativeInt = Annotated[Int, Field(ge=0)]
Byte = Annotated[Int, Field(ge=0, le=255)]
Fraction = Annotated[Float, Field(ge=0, le=1)]
OpenFraction = Annotated[Float, Field(gt=0, lt=1)]
PositiveFraction = Annotated[Float, Field(gt=0, le=1)]
NonNegativeFloat = Annotated[Float, Field(ge=0)]
PositiveFloat = Annotated[Float, Field(gt=0)]
Dropout = Annotated[Float, Field(ge=0, lt=1)]
PositiveRange = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_ascending)]
Range = Annotated[tuple[NonNegativeFloat, NonNegativeFloat], AfterValidator(_ascending)]
PositiveFractionRange = Annotated[tuple[PositiveFraction, PositiveFraction], AfterValidator(_ascending)]
PositiveIntRange = Annotated[tuple[PositiveInt, PositiveInt], AfterValidator(_ascending)]
_Quality = Annotated[Int, Field(ge=1, le=100)]
QualityRange = Annotated[tuple[_Quality, _Quality], AfterValidator(_ascending)]
Fold = Annotated[tuple[NonNegativeInt, PositiveInt], AfterValidator(_fold)]
KernelSize = Annotated[Literal[1, 3], BeforeValidator(_no_boolean)]
MindSporeMode = Annotated[Literal[0, 1], BeforeValidator(_no_boolean)]


def union_members(annotation: Any) -> tuple:
    """Returns the member types of a union, or the type itself as the only member."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def is_text(annotation: Any) -> bool:
    """Whether the values of a key are paths, names or other text (or None)."""

    def is_choice(kind: Any) -> bool:
        return get_origin(kind) is Literal and all(isinstance(choice, str) for choice in get_args(kind))

    return all(kind in (str, Path, NoneType) or is_choice(kind) for kind in union_members(annotation))


def choices(annotation: Any) -> tuple[Any, ...]:
    """Returns the allowed values of a key of type Literal or bool; () for other types."""
    values = [value for kind in union_members(annotation) if get_origin(kind) is Literal for value in get_args(kind)]
    return (True, False) if annotation is bool else tuple(values)


class Section(BaseModel):
    """A section of the configuration. Unknown keys are errors; the docstrings of the fields document the keys.

    A section is immutable; `replace` returns a copy with other values.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True)

    @classmethod
    def subsection(cls, path: tuple[str, ...]) -> "type[Section] | None":
        """Returns the class of the section at `path` below this one, or None if there is none."""
        section: type[Section] | None = cls
        for name in path:
            field = section.model_fields.get(name) if section else None
            options = union_members(field.annotation) if field else ()
            section = next((kind for kind in options if isinstance(kind, type) and issubclass(kind, Section)), None)
        return section

    def replace(self: "AnySection", values: dict[str, Any]) -> "AnySection":
        """Returns a copy with other values, {dotted key: value}. They are not validated."""
        changed = self
        for key, value in values.items():
            name, _, rest = key.partition(".")
            part = getattr(changed, name).replace({rest: value}) if rest else value
            if name not in type(self).model_fields:
                raise KeyError(key)
            changed = changed.model_copy(update={name: part})
        return changed

    def _derive(self, **values: Any) -> None:
        """Sets derived values during validation. They are not in `model_fields_set`, which holds the given keys."""
        self.__dict__.update(values)


AnySection = TypeVar("AnySection", bound=Section)
