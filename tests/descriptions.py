"""The API's own description, and whether an answer is as it says."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import requests
from jsonschema import Draft202012Validator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.gateways import Gateway

_TIMEOUT_S = 10.0


class Description:
    """An OpenAPI document whose schemas are closed: an answer with a member that is not described is wrong, too."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = copy.deepcopy(dict(document))
        for schema in self.document["components"]["schemas"].values():
            if "properties" in schema:
                schema.setdefault("additionalProperties", False)

    @classmethod
    def of(cls, gateway: Gateway) -> Description:
        """Ask *gateway* for its own."""
        return cls(requests.get(f"{gateway.url}/openapi.json", timeout=_TIMEOUT_S).json())

    def operations(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every operation, with its method and path."""
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                yield f"{method.upper()} {path}", operation

    def operation(self, name: str) -> dict[str, Any]:
        """The operation with this id."""
        return next(operation for _, operation in self.operations() if operation["operationId"] == name)

    def resolved(self, thing: dict[str, Any]) -> dict[str, Any]:
        """What *thing* refers to, or itself."""
        found: Any = self.document
        for name in thing["$ref"].removeprefix("#/").split("/") if "$ref" in thing else ():
            found = found[name]
        return found if "$ref" in thing else thing

    def complaints(self, schema: Mapping[str, Any], value: Any) -> list[str]:
        """What is wrong with *value* as *schema*."""
        whole = {"components": self.document["components"], **schema}
        return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(whole).iter_errors(value)]

    def check(self, name: str, answer: requests.Response) -> Any:
        """Fail unless *answer* is one that the operation *name* is described with; give what its body says."""
        described = self.operation(name)["responses"]
        assert str(answer.status_code) in described, f"{name} is not described with {answer.status_code}: {answer.text}"
        response = self.resolved(described[str(answer.status_code)])
        needed = {header for header, what in response.get("headers", {}).items() if what["required"]}
        missing = {header for header in needed if header not in answer.headers}
        assert not missing, f"{name}: {missing}"
        if not answer.content:
            assert "content" not in response
            return None
        media_type = answer.headers["Content-Type"].partition(";")[0]
        value = answer.json() if media_type == "application/json" else answer.text
        complaints = self.complaints(response["content"][media_type]["schema"], value)
        assert not complaints, f"{name}: {complaints}"
        return value
