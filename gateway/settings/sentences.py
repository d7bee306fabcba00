"""What the members of a model are for: the strings below them in the source, read when somebody asks.

pydantic can do the same (`use_attribute_docstrings`), but at each import, which was a tenth of a worker's start.
"""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

if TYPE_CHECKING:
    from collections.abc import Mapping


class DescribedSchema(GenerateJsonSchema):
    """JSON Schema in which each member is described by its sentences."""

    def model_schema(self, schema: Any) -> dict[str, Any]:
        """Describe a model."""
        model: type[BaseModel] = schema["cls"]
        result = super().model_schema(schema)
        for name, text in sentences(model).items():
            member = result["properties"][model.model_fields[name].alias or name]
            member["description"] = text
        return result


def sentences(model: type[BaseModel]) -> Mapping[str, str]:
    """Give what is said of each member of *model* by its name: its description, or the string below it.

    What nothing is said of is left out. Raises OSError where the source is not at hand.
    """
    below = {name: text for kind in reversed(model.__mro__) for name, text in _below_members(kind).items()}
    said = {name: field.description or below.get(name) for name, field in model.model_fields.items()}
    return {name: text for name, text in said.items() if text}


@cache
def _below_members(kind: type) -> Mapping[str, str]:
    """Give the strings below the members that *kind* itself has."""
    if not issubclass(kind, BaseModel) or kind is BaseModel:
        return MappingProxyType({})
    return MappingProxyType(
        {
            node.target.id: inspect.cleandoc(after.value.value)
            for node, after in pairwise(_classes(kind.__module__)[kind.__qualname__].body)
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if isinstance(after.value.value, str)
        }
    )


@cache
def _classes(module: str) -> Mapping[str, ast.ClassDef]:
    """Parse *module* and give its classes by name."""
    statements = ast.parse(inspect.getsource(sys.modules[module])).body
    return MappingProxyType({node.name: node for node in statements if isinstance(node, ast.ClassDef)})
