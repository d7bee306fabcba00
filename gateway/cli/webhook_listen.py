"""`gateway webhooks listen`: a receiver for whoever writes one, which verifies what comes and prints it."""

from __future__ import annotations

import binascii
import json
from typing import TYPE_CHECKING, Any, Final

import click
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from gateway.cli.live_view import plain
from gateway.core.webhook_secrets import WebhookSecretError, read_secret, show_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

PORT: Final = 8090
BODY_MAX_BYTES: Final = 1 << 20

_TIME: Final = (
    "its webhook-timestamp is not within 5 minutes of this clock: it was sent again by somebody, or a clock is wrong"
)
_WHY: Final = {
    "Missing required headers": "webhook-id, webhook-timestamp or webhook-signature is missing: nobody signed it",
    "Message timestamp too old": _TIME,
    "Message timestamp too new": _TIME,
}
_WRONG: Final = "its signature is not of this secret: the secret is another key's, or the body was changed on its way"


class _Secret(click.ParamType[Webhook]):
    """A webhook secret, in either of the forms in which a key can be given one."""

    name = "secret"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Webhook:
        """Read it."""
        if isinstance(value, Webhook):
            return value
        try:
            return Webhook(show_secret(read_secret(value)))
        except WebhookSecretError as error:
            self.fail(f"it {error}", param, ctx)


@click.command("listen")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=PORT, show_default=True, help="The port to listen on.")
@click.option(
    "--secret",
    "secrets",
    type=_Secret(),
    multiple=True,
    envvar="GATEWAY_WEBHOOK_SECRET",
    show_envvar=True,
    metavar="whsec_...",
    help="The webhook secret of the key, as it was shown; twice where one of two will do.",
)
@click.option(
    "--answer", type=click.IntRange(200, 599), default=204, show_default=True, help="The status to answer with."
)
def listen(host: str, port: int, secrets: tuple[Webhook, ...], answer: int) -> None:
    """Receive webhooks on this machine, verify and print them, until Ctrl-C.

    Where the settings say webhooks.allow_private, set a key's webhookUrl to http://127.0.0.1:8090/ and send a test
    event. What cannot be verified is answered with 401, and the reason is printed.
    """
    receiver = _Receiver(secrets, answer)
    application = web.Application(client_max_size=BODY_MAX_BYTES)
    application.router.add_route("*", "/{path:.*}", receiver.receive)
    if not secrets:
        click.echo("no --secret: nothing can be verified", err=True)

    def ready(_text: str) -> None:
        click.echo(f"listening on http://{host}:{port}/; Ctrl-C ends it", err=True)

    try:
        web.run_app(application, host=host, port=port, print=ready, access_log=None)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from None


class _Receiver:
    """Prints each delivery; those that were there before are told by their ids, as receivers should."""

    def __init__(self, secrets: tuple[Webhook, ...], answer: int) -> None:
        self._secrets = secrets
        self._answer = answer
        self._seen: set[str] = set()

    async def receive(self, request: web.Request) -> web.Response:
        """Verify and print one delivery."""
        if request.method != "POST":
            return web.Response(status=405, headers={"Allow": "POST"})
        body = await request.read()
        why = complaint(self._secrets, body, request.headers) if self._secrets else None
        if why is not None:
            click.echo(f"REFUSED {len(body)} bytes: {why}")
            return web.Response(status=401)
        self._print(request.headers.get("webhook-id", ""), body, "verified" if self._secrets else "NOT verified")
        return web.Response(status=self._answer)

    def _print(self, delivery_id: str, body: bytes, verified: str) -> None:
        again = ", seen before" if delivery_id in self._seen else ""
        self._seen.add(delivery_id)
        click.echo(plain(f"{delivery_id} {verified}{again}"))
        try:
            click.echo(json.dumps(json.loads(body), indent=2))
        except (ValueError, RecursionError):
            click.echo("its body is not JSON")


def complaint(secrets: tuple[Webhook, ...], body: bytes, headers: Mapping[str, str]) -> str | None:
    """Say why none of *secrets* verifies a delivery, None if one does."""
    why = _WRONG
    for secret in secrets:
        try:
            secret.verify(body, dict(headers), json_parse=False)
        except WebhookVerificationError as error:
            why = _WHY.get(str(error), _WRONG)
        except (binascii.Error, ValueError):  # The library takes a signature apart as it comes.
            why = _WRONG
        else:
            return None
    return why
