"""`make check-webhooks`: receivers that know nothing of us, with svix on Node.js, verify our deliveries.

It is not part of `make test`, because it installs packages of npm, pinned in package-lock.json.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.adapters.webhooks.sender import WebhookSender
from tests.integration.receiving import MESSAGE, OLD_SECRET, SECRET, WRONG_SECRET, fields_of, now

if TYPE_CHECKING:
    from tests.backends import Backend

HERE = Path(__file__).parent
TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("receiver")
    for name in ("package.json", "package-lock.json", "verify.mjs"):
        shutil.copy(HERE / name, directory)
    command = ("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
    subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=TIMEOUT_S)
    return directory


def verdicts(receiver: Path, deliveries: list[dict[str, Any]]) -> list[str]:
    lines = "".join(f"{json.dumps(delivery)}\n" for delivery in deliveries)
    command = ("node", "verify.mjs")
    return subprocess.check_output(command, cwd=receiver, input=lines, text=True, timeout=TIMEOUT_S).splitlines()


@pytest.mark.timeout(300)
async def test_svix_verifies_what_is_ours_and_nothing_else(receiver: Path, backend: Backend) -> None:
    sender = WebhookSender(allow_private=True)
    for at in (now(), now() - 600, now() + 600):
        assert (await sender.send(backend.url, [SECRET, OLD_SECRET], MESSAGE, at)).delivered
    await sender.close()
    fresh, old, early = ({"headers": fields_of(request), "body": request.body.decode()} for request in backend.requests)
    deliveries = [
        {**fresh, "secret": SECRET},
        {**fresh, "secret": OLD_SECRET},
        {**fresh, "secret": WRONG_SECRET},
        {**fresh, "secret": SECRET, "body": fresh["body"].replace("created", "deleted")},
        {**old, "secret": SECRET},
        {**early, "secret": SECRET},
    ]
    assert verdicts(receiver, deliveries) == [
        "ok",
        "ok",
        "No matching signature found",
        "No matching signature found",
        "Message timestamp too old",
        "Message timestamp too new",
    ]
