"""Bodies: from the bytes of a request to a checked model, or a refusal that names every problem.

What two JSON parsers could read differently (duplicate members, NaN, lone surrogates) is refused, and so is what the
store cannot hold (NUL). Nothing of the input but member names is ever repeated in a refusal: it may be a password.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Never, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from gateway.management.refusals import Refused, bad_request, invalid, wrong_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

    from gateway.core.answers import Asked

DEPTH_MAX: Final = 32
PARAMETERS_MAX: Final = 50

_FIELD_MAX_CHARACTERS: Final = 100
_SURROGATES: Final = range(0xD800, 0xE000)
_MESSAGES: Final = {
    "missing": "is required",
    "extra_forbidden": "is not a field that can be set here",
    "string_type": "must be a string",
    "int_type": "must be an integer",
    "list_type": "must be an array",
    "dict_type": "must be an object",
    "model_type": "must be an object",
}


class Body(BaseModel):
    """A JSON object: camelCase on the wire, no unknown members, no guessing of types."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, alias_generator=to_camel, hide_input_in_errors=True
    )


def without_defaults(schema: dict[str, Any]) -> None:
    """Take the defaults out of the JSON *schema* of a model in which they only stand for what is not there."""
    for member in schema.get("properties", {}).values():
        member.pop("default", None)


Model = TypeVar("Model", bound=Body)


def read_body(asked: Asked, model: type[Model], rules: object = None) -> Model:
    """Read the body of *asked* as *model*, whose validators get *rules* as their context.

    Raises Refused: as `read_json`, and 422 for values that break a rule.
    """
    return checked(read_json(asked), model, rules)


def read_json(asked: Asked) -> Any:
    """Read the body of *asked* as JSON that can be stored.

    Raises Refused: 415 for another type, 400 for what is not JSON, 422 for text that cannot be stored.
    """
    if not is_json(asked.headers.get("Content-Type", "")):
        raise wrong_type()
    value = parse_json(asked.body)
    _refuse_unstorable(value)
    return value


def read_query(asked: Asked, model: type[Model]) -> Model:
    """Read the query of *asked* as *model*, whose fields get text; raises Refused with 422."""
    try:
        pairs = parse_qsl(asked.query.removeprefix("?"), keep_blank_values=True, max_num_fields=PARAMETERS_MAX)
    except ValueError:
        raise invalid([("", f"the query must have at most {PARAMETERS_MAX} parameters")]) from None
    repeated = {name for name, number in Counter(name for name, _ in pairs).items() if number > 1}
    known = [to_camel(name) for name in model.model_fields if to_camel(name) in repeated]
    if known:
        raise invalid([(name, "must be given once") for name in known])
    return checked(dict(pairs), model, None)


def checked(value: Any, model: type[Model], rules: object) -> Model:
    """Check *value* as *model*, whose validators get *rules*; raises Refused with 422 and every problem."""
    _refuse_unstorable(value)
    try:
        return model.model_validate(value, context=rules)
    except ValidationError as error:
        raise _refused(error) from None


def _refuse_unstorable(value: Any) -> None:
    problems = list(_unstorable(value))
    if problems:
        raise invalid(problems)


def is_json(content_type: str) -> bool:
    """Say whether *content_type* is application/json, in UTF-8 where it names an encoding (RFC 8259 section 8.1)."""
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = [parameter.partition("=")[2].strip('"') for parameter in parameters if parameter.startswith("charset")]
    return media_type == "application/json" and all(charset in {"utf-8", "utf8"} for charset in charsets)


def parse_json(body: bytes) -> Any:
    """Parse *body* strictly (RFC 8259, I-JSON of RFC 7493); raises Refused with 400."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        message = "The request body is not UTF-8"
        raise bad_request(message) from None
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_number, parse_int=_whole
        )
    except json.JSONDecodeError as error:
        message = f"The request body is not valid JSON (line {error.lineno}, column {error.colno})"
        raise bad_request(message) from None
    except RecursionError:
        raise _too_deep() from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        message = "An object in the request body names a member twice"
        raise bad_request(message)
    return members


def _no_constant(name: str) -> Never:
    message = f"{name} is not JSON"
    raise bad_request(message)


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        message = "A number in the request body is out of range"
        raise bad_request(message)
    return number


def _whole(text: str) -> int:
    if len(text) > 20:
        message = "A number in the request body is out of range"
        raise bad_request(message)
    return int(text)


def _too_deep() -> Refused:
    return bad_request(f"The request body is nested more than {DEPTH_MAX} levels deep")


def _unstorable(value: Any) -> Iterator[tuple[str, str]]:
    """Find strings that are not Unicode text or cannot be stored, and give each with its field; without recursion."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), value)]
    while waiting:
        path, value = waiting.pop()
        if len(path) > DEPTH_MAX:
            raise _too_deep()
        if isinstance(value, str):
            complaint = _complaint(value)
            if complaint is not None:
                yield _field(path), complaint
        elif isinstance(value, dict):
            for name, member in value.items():
                if _complaint(name) is not None:
                    yield _field(path), "has a member whose name is not text"
                else:
                    waiting.append(((*path, name), member))
        elif isinstance(value, list):
            waiting.extend(((*path, str(index)), member) for index, member in enumerate(value))


def _complaint(text: str) -> str | None:
    if "\0" in text:
        return "must not contain the NUL character"
    if not text.isascii() and any(ord(character) in _SURROGATES for character in text):
        return "must not contain half of a surrogate pair"
    return None


def _field(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))[:_FIELD_MAX_CHARACTERS]


def _refused(error: ValidationError) -> Refused:
    details = error.errors(include_url=False, include_context=True, include_input=False)
    problems = [(_field(detail["loc"]), _message(detail)) for detail in details]
    return invalid([problem if problem[0] else ("", f"the request body {problem[1]}") for problem in problems])


def _message(detail: ErrorDetails) -> str:
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    message = _MESSAGES.get(detail["type"], detail["msg"])
    return message[:1].lower() + message[1:]
