"""The options that describe a key, and the body of the API that they amount to, checked by the API's own rules."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from gateway.core.deliveries import WebhookStatus
from gateway.core.keys import KeyStatus
from gateway.management.bodies import Body, checked
from gateway.management.key_bodies import Rules
from gateway.management.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.settings.schema import Config

FROM_STDIN: Final = "-"

_FIELDS: Final = {
    "name": "name",
    "scopes": "scopes",
    "description": "description",
    "rate_limit": "rateLimitPerHour",
    "status": "status",
    "allowed_ips": "allowedIps",
    "expires": "expiresAt",
    "webhook_url": "webhookUrl",
    "webhook_secret": "webhookSecret",
    "webhook_events": "webhookEvents",
    "webhook_status": "webhookStatus",
}
"""The members of a body by option."""
_CLEARABLE: Final = {
    "description": "description",
    "allowed-ips": "allowedIps",
    "expires": "expiresAt",
    "webhook-url": "webhookUrl",
    "webhook-events": "webhookEvents",
}
_OPTIONS: Final = (
    click.option("--description", metavar="TEXT", help="What the key is for."),
    click.option("--rate-limit", type=int, metavar="N", help="Requests per hour. [a new key: 1000]"),
    click.option(
        "--allowed-ip",
        "allowed_ips",
        multiple=True,
        metavar="CIDR",
        help="An address or CIDR that may use it; several times. [a new key: any]",
    ),
    click.option("--expires", metavar="TIME", help="When it ends, e.g. 2030-12-31T23:59:59Z."),
    click.option("--webhook-url", metavar="URL", help="Where its events are sent; https."),
    click.option(
        "--webhook-secret",
        metavar="SECRET",
        help="What its events are signed with; - reads it from standard input, where no process list shows it. "
        "[made when there is a URL]",
    ),
    click.option(
        "--webhook-event",
        "webhook_events",
        multiple=True,
        metavar="NAME",
        help="An event that is sent, e.g. budget.created; several times. [a new key: all]",
    ),
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, as the API does.")
account_option = click.option("--account", "account_id", help="The account's id; not needed while there is only one.")
status_option = click.option("--status", type=click.Choice(list(KeyStatus), case_sensitive=False), help="Its status.")
webhook_status_option = click.option(
    "--webhook-status",
    type=click.Choice([WebhookStatus.ACTIVE, WebhookStatus.PAUSED], case_sensitive=False),
    help="PAUSED lets its events wait, ACTIVE sends them.",
)
clear_option = click.option(
    "--clear", type=click.Choice(list(_CLEARABLE)), multiple=True, help="Take this away from the key; several times."
)

Command = TypeVar("Command", bound="Callable[..., Any]")
Checked = TypeVar("Checked", bound=Body)


def description_options(*, needed: bool) -> Callable[[Command], Command]:
    """Add the options that describe a key; a new one needs a name and scopes."""
    name = click.option("--name", required=needed, metavar="TEXT", help="What people call the key, 1-100 characters.")
    scopes = click.option(
        "--scope", "scopes", multiple=True, required=needed, metavar="SCOPE", help="What it may do; several times."
    )

    def add(command: Command) -> Command:
        for option in reversed((name, scopes, *_OPTIONS)):
            command = option(command)
        return command

    return add


def checked_body(model: type[Checked], config: Config, options: dict[str, Any], clear: tuple[str, ...] = ()) -> Checked:
    """Read *options* as a body of the API; what was not given is left out, what *clear* names becomes null.

    Raises ClickException with every problem.
    """
    given = {_FIELDS[name]: value for name, value in options.items() if value not in (None, ())}
    body = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    if body.get("webhookSecret") == FROM_STDIN:
        body["webhookSecret"] = sys.stdin.readline().rstrip("\r\n")
    for name in clear:
        if _CLEARABLE[name] in body:
            raise click.ClickException(f"--clear {name} takes away what another option sets; give one of the two")
        body[_CLEARABLE[name]] = None
    return check(model, body, rules(config))


def check(model: type[Checked], value: dict[str, Any], context: Rules | None = None) -> Checked:
    """Check *value* as *model*; raises ClickException with every problem in one line."""
    try:
        return checked(value, model, context)
    except Refused as refused:
        raise click.ClickException("; ".join(problems_of(refused))) from None


def problems_of(refused: Refused) -> list[str]:
    """Give the problems of a body, field by field, without its values."""
    errors = (refused.refusal.details or {}).get("errors", ())
    return [": ".join(part for part in (error["field"], error["message"]) if part) for error in errors]


def rules(config: Config) -> Rules:
    """Give the rules for keys, as of now."""
    return Rules(config.scopes, time.time(), config.webhooks.allow_private)
