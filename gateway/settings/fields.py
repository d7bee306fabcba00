"""The types of single settings: strict about what the file says, lenient about what comes from the environment."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, Strict

from gateway.core.network import parse_address, parse_network
from gateway.core.routes import Pattern
from gateway.settings.interpolation import Interpolated

if TYPE_CHECKING:
    from collections.abc import Callable

_WHOLE: Final = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER: Final = re.compile(r"[-+]?[0-9]{1,18}(\.[0-9]{0,18})?")
_SECRET_KEY_BYTES: Final = 32
_TARGET_PORTS: Final = {"http": 80, "https": 443}
_SOCKET_SCHEMES: Final = frozenset({"unix", "http+unix"})
_SOCKET_PATH_MAX: Final = 107
"""What sockaddr_un has room for on Linux."""


class Section(BaseModel):
    """A part of the settings: frozen, no unknown keys, and silent about its input in errors.

    The strings below its members say what they are for (`sentences`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def as_whole(value: object) -> object:
    """Read a whole number that came from outside; anything else is left for the check."""
    return int(value) if isinstance(value, Interpolated) and _WHOLE.fullmatch(value) else value


def as_number(value: object) -> object:
    """Read a number that came from outside."""
    return float(value) if isinstance(value, Interpolated) and _NUMBER.fullmatch(value) else value


def as_switch(value: object) -> object:
    """Read true or false that came from outside."""
    if isinstance(value, Interpolated):
        return {"true": True, "false": False}.get(value.lower(), value)
    return value


def _matching(pattern: str, expected: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            message = f'"{value[:60]}" cannot be used; expected {expected}'
            raise ValueError(message)
        return value

    return AfterValidator(check)


def _checked(parse: Callable[[str], object]) -> AfterValidator:
    """Check with a *parse* that raises a ValueError that explains itself, and keep the text."""

    def check(value: str) -> str:
        parse(value)
        return value

    return AfterValidator(check)


def _bind_address(text: str) -> None:
    if parse_address(text) is None:
        message = f'"{text[:60]}" is not an address; expected one of this machine, e.g. 127.0.0.1, 0.0.0.0 or "::"'
        raise ValueError(message)


@dataclass(frozen=True, slots=True)
class TargetParts:
    """What the URL of a target says; a Unix socket has a path, and no host or port of meaning."""

    host: str
    port: int
    authority: str
    tls: bool = False
    path: str | None = None


def split_target(url: str) -> TargetParts:
    """Split an upstream target into its parts; raises ValueError, which never shows a password."""
    expected = "expected http://host:port, https://host:port or unix:/path"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        message = f"this is not a URL; {expected}"
        raise ValueError(message) from None
    if parts.username is not None or parts.password is not None:
        message = f"a target may not contain a user or password; {expected}"
        raise ValueError(message)
    if parts.scheme in _SOCKET_SCHEMES:
        return TargetParts("localhost", 0, "localhost", path=_socket_path(url))
    if parts.scheme not in _TARGET_PORTS or not host or not re.fullmatch(r"[A-Za-z0-9._:-]+", host) or port == 0:
        message = f"this is not the URL of a target; {expected}"
        raise ValueError(message)
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        message = f"a target has no path or query, requests bring their own; {expected}"
        raise ValueError(message)
    return TargetParts(host, port or _TARGET_PORTS[parts.scheme], parts.netloc, tls=parts.scheme == "https")


def _socket_path(url: str) -> str:
    """Give the path in unix:/path, unix:///path or http+unix://%2Fpath; raises ValueError."""
    path = re.sub(r"//(?=/)", "", unquote(url.partition(":")[2].removeprefix("//") or "/"), count=1)
    if not path.startswith("/") or path.endswith("/") or "\0" in path or len(path.encode()) > _SOCKET_PATH_MAX:
        message = (
            f"this is not the path of a socket; expected e.g. unix:/run/app.sock, at most {_SOCKET_PATH_MAX} bytes"
        )
        raise ValueError(message)
    return path


def split_syslog(place: str) -> tuple[str, int] | str:
    """Split where reports come to: an address and a port, or the path of a Unix socket; raises ValueError."""
    if place.startswith("unix:"):
        return _socket_path(place)
    host, _, port = place.rpartition(":")
    if parse_address(host.strip("[]")) is None or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 1 << 16:
        message = f'"{place[:60]}" cannot be used; expected an address with a port, e.g. 127.0.0.1:5514, or unix:/path'
        raise ValueError(message)
    return host.strip("[]"), int(port)


def _jwks_url(url: str) -> None:
    """Check the URL of a JWK set; raises ValueError. What loads them trusts what comes, so it must not be changed."""
    expected = "expected https://host/path, without a user or fragment (http:// only to this machine)"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        message = f"this is not a URL; {expected}"
        raise ValueError(message) from None
    address = parse_address(host)
    local = host == "localhost" or (address is not None and address.is_loopback)
    secure = parts.scheme == "https" or (parts.scheme == "http" and local)
    if not secure or not host or port == 0 or "@" in parts.netloc or "#" in url or not url.isascii() or " " in url:
        message = f"this is not the URL of a JWK set; {expected}"
        raise ValueError(message)


def _secret_url(schemes: frozenset[str], expected: str) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(value.get_secret_value())
            known = parts.scheme in schemes and parts.port != 0
        except ValueError:
            known = False
        if not known:
            message = f"this is not such a URL (it is not shown, it may hold a password); expected {expected}"
            raise ValueError(message)
        return value

    return AfterValidator(check)


def _secret_key(value: SecretStr) -> SecretStr:
    try:
        length = len(base64.b64decode(value.get_secret_value(), validate=True))
    except (binascii.Error, ValueError):
        length = 0
    if length != _SECRET_KEY_BYTES:
        message = (
            "this is not base64 of 32 bytes (it is not shown); expected e.g. the output of openssl rand -base64 32"
        )
        raise ValueError(message)
    return value


def _without_blanks(value: object) -> object:
    """Leave out what is empty, which is how a variable that is not set arrives."""
    return [item for item in value if item != ""] if isinstance(value, (list, tuple)) else value


Whole = Annotated[int, Strict(), BeforeValidator(as_whole)]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False), BeforeValidator(as_number)]
Switch = Annotated[bool, Strict(), BeforeValidator(as_switch)]

BindAddress = Annotated[str, _checked(_bind_address)]
Network = Annotated[str, _checked(parse_network)]
PathPattern = Annotated[str, _checked(Pattern.parse)]
JwksUrl = Annotated[str, _checked(_jwks_url)]
SyslogPlace = Annotated[str, _checked(split_syslog)]
TargetUrl = Annotated[str, _checked(split_target)]
CheckPath = Annotated[str, _matching(r"/[!-~]*", "a path such as /health, perhaps with a query")]
ServerName = Annotated[str, _matching(r"[A-Za-z0-9._-]{1,253}", "the name of a host, e.g. budgets.internal")]
PathPrefix = Annotated[
    str, _matching(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+", "a path such as /v1, without a slash at its end")
]
RouteName = Annotated[
    str, _matching(r"[a-z0-9][a-z0-9_.-]{0,63}", "1-64 of a-z, 0-9, dot, dash and underscore, e.g. budgets.read")
]
UpstreamName = Annotated[str, _matching(r"[a-z0-9][a-z0-9_-]{0,63}", "1-64 of a-z, 0-9, dash and underscore")]
ScopeName = Annotated[
    str, _matching(r"[A-Za-z0-9_.:-]{1,64}", "1-64 letters, digits, dots, colons, dashes and underscores")
]
KeyPrefix = Annotated[
    str, _matching(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*_", "letters and digits that end in _, e.g. bk_live_")
]
HeaderName = Annotated[
    str, _matching(r"[A-Za-z0-9_.-]+\*?", "the name of a header field, perhaps with * as its last character")
]
FieldName = Annotated[str, _matching(r"[A-Za-z0-9!#$%&'+.^_`|~-]+", "the name of a header field, without wildcards")]
Origin = Annotated[
    str,
    _matching(
        r"\*|[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?",
        'an origin as browsers write it, in small letters and without a path, e.g. https://app.example.com, or "*"',
    ),
]
EventSource = Annotated[str, _matching(r"[!-~]{1,200}", "a URI, or a path such as /gateway")]
EventName = Annotated[str, _matching(r"[a-z_]+(\.[a-z_]+)+", "a name such as budget.created")]
PostgresDsn = Annotated[
    SecretStr,
    _secret_url(frozenset({"postgres", "postgresql"}), "postgresql://user:password@host:5432/database"),
]
RedisUrl = Annotated[
    SecretStr,
    _secret_url(frozenset({"redis", "rediss", "unix"}), "redis://host:6379/0 (rediss:// for TLS, unix:///path)"),
]
SecretKey = Annotated[SecretStr, AfterValidator(_secret_key)]
SecretKeys = Annotated[tuple[SecretKey, ...], BeforeValidator(_without_blanks)]
