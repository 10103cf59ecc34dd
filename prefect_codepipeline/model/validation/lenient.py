"""Build a declaration from data with invalid fields, so that the rules for several fields can be checked too."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.validation.fields import bare, hints_of

# More than any list may have; for a longer list, only its length is reported.
_MOST_ITEMS = 1500


def declare_anyway(wire: Any) -> PipelineDeclaration:
    """The declaration without validation: values of the right type are kept, all others become absent or empty.

    Only for checks: such a declaration must never run.
    """
    declaration: PipelineDeclaration = _model(PipelineDeclaration, wire)
    return declaration


def _model(model: type[BaseModel], wire: Any) -> Any:
    data = wire if isinstance(wire, dict) else {}
    hints = hints_of(model)
    fields = {
        name: _field(field, hints[field.alias or name], data.get(field.alias or name))
        for name, field in model.model_fields.items()
    }
    return model.model_construct(**fields)


def _field(field: FieldInfo, annotation: Any, value: Any) -> Any:
    found = _value(bare(annotation), value)
    if found is not None:
        return found
    return _empty(bare(annotation)) if field.is_required() else field.get_default(call_default_factory=True)


def _value(annotation: Any, value: Any) -> Any:
    """The value, or None if it does not have that type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _model(annotation, value) if isinstance(value, dict) else None
    if get_origin(annotation) is list:
        (inner,) = get_args(annotation)
        return (
            [_member(bare(inner), item) for item in value[:_MOST_ITEMS]] if isinstance(value, list) else None
        )
    if get_origin(annotation) is dict:
        _, inner = get_args(annotation)
        return _map(bare(inner), value) if isinstance(value, dict) else None
    expected = str if get_origin(annotation) is Literal else annotation
    return value if type(value) is expected else None


def _map(annotation: Any, value: dict[Any, Any]) -> dict[str, Any]:
    return {key: _member(annotation, item) for key, item in value.items() if isinstance(key, str)}


def _member(annotation: Any, item: Any) -> Any:
    found = _value(annotation, item)
    return _empty(annotation) if found is None else found


def _empty(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _model(annotation, {})
    if get_origin(annotation) in (list, dict):
        return get_origin(annotation)()
    return 1 if annotation is int else ""
