"""`gateway keys import`: keys that exist already, from a file of any length, all or none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Final, TextIO

import click

from gateway.adapters.postgres.accounts import NoSuchAccount
from gateway.adapters.postgres.key_import import IMPORT_TIMEOUT_S, LineProblems, Steps, import_keys
from gateway.adapters.secrets.encryption import encryption_of
from gateway.cli.database import checked_connection, only_account
from gateway.cli.key_lines import Destination, csv_lines, imported_keys, json_lines
from gateway.cli.key_options import account_option
from gateway.cli.key_output import print_json
from gateway.cli.progress import Progress
from gateway.cli.run import config_option, load_or_exit
from gateway.core.snapshot import KeyFormat
from gateway.management.key_bodies import Rules

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INTERRUPTED: Final = 130
STOPPED: Final = "stopped; nothing was imported"

_LOOK_EVERY: Final = 1000


@click.command("import")
@click.argument("file", type=click.File(encoding="utf-8-sig"))
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    help="What FILE is.  [default: by the ending of its name, or jsonl]",
)
@click.option("--dry-run", is_flag=True, help="Do everything, and undo it again.")
@click.option("--problems", "shown", type=click.IntRange(1, 10_000), default=20, show_default=True, metavar="N",
              help="How many bad lines to tell at most.")  # fmt: skip
@account_option
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def import_command(
    file: TextIO,
    form: str | None,
    account_id: str | None,
    config_file: Path,
    shown: int,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Import existing keys from FILE, all of them or none.

    FILE is CSV with a header, or a JSON object a line; - is standard input.

    \b
        name,scopes,key
        Shop,READ_BUDGETS WRITE_BUDGETS,bk_live_1234567890abcdef1234567890abcdef

    Members: name, scopes, and key or sha256 (hex); also id, description, rateLimitPerHour, status, allowedIps,
    expiresAt, webhookUrl with its webhookSecret, and keyPrefix beside sha256. In CSV, lists are separated by blanks.
    Ids, statuses and expiry are kept as they are, a past one too. Keys that were not issued by a gateway, and digests,
    need keys.legacy: true in the settings.
    """  # noqa: D301  # the escape is click's mark for a paragraph that keeps its lines
    config = load_or_exit(config_file)
    read = csv_lines if (form or ("csv" if file.name.lower().endswith(".csv") else "jsonl")) == "csv" else json_lines
    problems = LineProblems(shown)
    progress, interrupt = Progress(sys.stderr), _Interrupt()
    # A key that has expired already is imported as it is, and refused as expired rather than as unknown.
    rules = Rules(config.scopes, float("-inf"), config.webhooks.allow_private)

    async def work() -> int:
        interrupt.arm()
        async with checked_connection(config, timeout_s=IMPORT_TIMEOUT_S) as connection:
            owner = account_id or await only_account(connection)
            key_format = KeyFormat(config.keys.prefixes, config.keys.legacy)
            found = imported_keys(
                read(file), Destination(owner, key_format, encryption_of(config.secrets)), rules, problems
            )
            try:
                return await import_keys(connection, found, problems, _steps(progress, interrupt), dry_run=dry_run)
            except NoSuchAccount:
                raise click.ClickException(f"there is no account {owner}; see `gateway accounts list`") from None
            except UnicodeDecodeError:
                raise click.ClickException(f"{file.name} is not UTF-8; nothing was imported") from None

    try:
        count = asyncio.run(work())
    except asyncio.CancelledError:
        progress.end()
        click.echo(STOPPED, err=True)
        sys.exit(INTERRUPTED)
    finally:
        progress.end()
    if problems.total:
        raise click.ClickException(_refused(problems))
    _print(count, progress.seconds, dry_run=dry_run, as_json=as_json)


class _Interrupt:
    """What Ctrl-C does, by how far the import is.

    While lines are read it ends the process: a read that waits for a pipe lets nothing else happen, and Postgres undoes
    what was not committed. Then it ends the transaction; a commit cannot be taken back, and is waited for.
    """

    def __init__(self) -> None:
        self.act: Callable[[], object] = _end_here
        self.cancel: Callable[[], object] = _end_here

    def arm(self) -> None:
        """Handle Ctrl-C from here on; in a thread of somebody else's process it is theirs."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self.cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGINT, lambda _number, _frame: self.act())


def _end_here() -> None:
    click.echo(f"\n{STOPPED}" if sys.stderr.isatty() else STOPPED, err=True)
    os._exit(INTERRUPTED)


def _steps(progress: Progress, interrupt: _Interrupt) -> Steps:
    """Tell *progress* and *interrupt* how far the import is."""
    count = 0

    def read() -> None:
        nonlocal count
        count += 1
        if count % _LOOK_EVERY == 0 and progress.due():
            progress.say(f"read {count:,} keys, {count / progress.seconds:,.0f} a second")

    def checking(number: int) -> None:
        interrupt.act = interrupt.cancel
        progress.say(f"read {number:,} keys; looking for those that exist already")

    def storing(number: int) -> None:
        progress.say(f"read {number:,} keys; storing them")

    def committing() -> None:
        interrupt.act = lambda: None

    return Steps(read, checking, storing, committing)


def _refused(problems: LineProblems) -> str:
    told = [str(problem) for problem in problems.first]
    more = problems.total - len(told)
    rest = [f"and {more} more; --problems N shows more of them"] if more else []
    return "\n".join(["nothing was imported:", *told, *rest])


def _print(count: int, took_s: float, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"imported": 0 if dry_run else count, "checked": count, "seconds": round(took_s, 3)})
    elif dry_run:
        click.echo(f"{count} keys can be imported; nothing was imported")
    else:
        click.echo(f"imported {count} keys in {took_s:.1f} s")
