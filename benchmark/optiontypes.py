"""Whether an option's value is of the type that a constructor's annotation, or its default, asks for."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

#: Types that grid files and command lines can give, and what counts as one of each.
PLAIN: dict[Any, tuple[type, ...]] = {
    int: (int,),
    float: (int, float),
    str: (str,),
    bool: (bool,),
    NoneType: (NoneType,),
    None: (NoneType,),
}


def fits(value: Any, parameter: inspect.Parameter) -> bool:
    """Whether a value is of a parameter's type, as far as that is plain; anything is of any other.

    Without annotation, as far as its default tells: a whole number may stand for any.
    """
    annotation, default = parameter.annotation, parameter.default
    if annotation is not inspect.Parameter.empty:
        return _is(value, annotation)
    if type(default) in (int, float):
        return _is(value, float)
    return type(default) not in (str, bool) or _is(value, type(default))


def wanted(parameter: inspect.Parameter) -> str:
    """The type in words."""
    if parameter.annotation is not inspect.Parameter.empty:
        return inspect.formatannotation(_bare(parameter.annotation)).replace("collections.abc.", "")
    return "a number" if type(parameter.default) in (int, float) else type(parameter.default).__name__


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _is(value: Any, annotation: Any) -> bool:
    annotation = _bare(annotation)
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in PLAIN:
        return isinstance(value, PLAIN[annotation]) and (annotation is bool or not isinstance(value, bool))
    if origin in (Union, UnionType):
        return any(_is(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    container = origin or annotation
    if container in (list, tuple, Sequence, Iterable):
        kinds = {one for one in inner if one is not Ellipsis}
        return isinstance(value, list | tuple) and (len(kinds) != 1 or all(_is(one, *kinds) for one in value))
    if container in (dict, Mapping):
        return isinstance(value, Mapping)
    return True
