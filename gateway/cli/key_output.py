"""Keys as the commands print them: the API's JSON with the account beside it, or text for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.core.webhook_secrets import show_secret
from gateway.management.key_views import pagination, shown, shown_once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.adapters.postgres.key_lists import KeyPage
    from gateway.adapters.postgres.keys import CreatedKey, StoredKey

_COLUMNS: Final = (
    *(("ID", "id"), ("PREFIX", "keyPrefix"), ("STATUS", "status"), ("NAME", "name"), ("PER HOUR", "rateLimitPerHour")),
    *(("EXPIRES", "expiresAt"), ("LAST USED", "lastUsedAt"), ("SCOPES", "scopes")),
)


def print_json(value: Any) -> None:
    """Print *value* as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_new(created: CreatedKey, webhook_secret: bytes | None, *, as_json: bool) -> None:
    """Print a key with its new secret: for people the secret alone, so that it can be piped, and the rest beside it."""
    if as_json:
        print_json({**shown_once(created, webhook_secret), "accountId": created.stored.account_id})
        return
    click.echo(created.key)
    if webhook_secret is not None:
        click.echo(f"webhook secret: {show_secret(webhook_secret)}", err=True)
    click.echo(f"{created.stored.id}; what is secret is not kept readable and cannot be shown again", err=True)


def print_key(key: StoredKey, webhook_secret: bytes | None = None, *, as_json: bool) -> None:
    """Print a key, with its *webhook_secret* where that is new."""
    view = {**shown(key), "accountId": key.account_id}
    if webhook_secret is not None:
        view["webhookSecret"] = show_secret(webhook_secret)
    if as_json:
        print_json(view)
        return
    for name, value in view.items():
        click.echo(f"{name:16}  {_text(value)}")


def print_page(found: KeyPage, page: int, limit: int, *, as_json: bool) -> None:
    """Print a page of keys, and where it lies."""
    views = [{**shown(key), "accountId": key.account_id} for key in found.keys]
    place = pagination(page, limit, found.total)
    if as_json:
        print_json({"data": views, "pagination": place})
        return
    if views:
        _print_table([title for title, _ in _COLUMNS], [[_text(view[name]) for _, name in _COLUMNS] for view in views])
    first = (page - 1) * limit + 1
    here = f"{first}-{first + len(views) - 1} of {found.total}" if views else f"none here, {found.total} in all"
    click.echo(f"{here}{f'; more with --page {page + 1}' if place['hasMore'] else ''}", err=True)


def _print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in (titles, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _text(value: Any) -> str:
    """Write *value* in one line; what could move a terminal's cursor is replaced."""
    text = " ".join(value) if isinstance(value, list) else "-" if value is None else str(value)
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
