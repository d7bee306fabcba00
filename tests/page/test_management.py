"""Every management request of the API Keys page, from each client that it shows, gets the answer that it documents."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.demos import wait_until
from tests.owners import PASSWORD, make_user
from tests.page import examples
from tests.page.clients import Curl, Request, tool
from tests.page.examples import filled

if TYPE_CHECKING:
    from tests.gateways import Gateway
    from tests.owners import Owner
    from tests.page.clients import Answered
    from tests.page.conftest import Client

_TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_MADE_ANEW = ("id", "key", "keyPrefix", "expiresAt", "createdAt")


class Reader:
    """Somebody who does what the page says, with one of its clients."""

    def __init__(self, client: Client, base: str, token: str = "") -> None:
        self._client = client
        self._base = base
        self.token = token

    def do(self, example: str, status: int, key_id: str = "") -> Answered:
        """Run an *example* of curl with this client, and look at what every answer of ours has."""
        command = filled(example, self._base, self.token, key_id)
        client = self._client
        answer = client.run(command) if isinstance(client, Curl) else client.send(Request.of(command))
        assert answer.status == status, answer.body
        assert re.fullmatch(r"req_[0-9a-f]{16}", answer.headers["x-request-id"])
        assert answer.headers["cache-control"] == "no-store"
        if status == 204:
            assert answer.body == ""
        else:
            assert answer.headers["content-type"] == "application/json; charset=utf-8"
        return answer


def check_created(made: dict[str, Any]) -> None:
    """Compare with the page's response: what the reader gave is given back, and the rest has the page's form."""
    assert made.keys() == {*examples.CREATED, "description", "webhookSecret"}
    given = {name: value for name, value in examples.CREATED.items() if name not in _MADE_ANEW}
    assert {name: made[name] for name in given} == given
    assert made["description"] == "API key for Shopify integration"
    assert made["id"].startswith("api_key_")
    assert re.fullmatch(r"bk_live_[A-Za-z0-9]{32}", made["key"])
    assert made["keyPrefix"] == made["key"][:12]
    assert made["expiresAt"] == "2034-12-31T23:59:59.000Z"
    assert _TIME.fullmatch(made["createdAt"])


def test_a_reader_can_do_all_that_the_page_shows(gateway: Gateway, client: Client, base: str) -> None:
    email = make_user(gateway)
    reader = Reader(client, base)

    login = examples.LOGIN.replace(examples.EMAIL, email).replace(examples.PASSWORD, PASSWORD)
    told = reader.do(login, 200).json
    assert told.keys() == {"token", "accessToken", "tokenType", "expiresIn", "user"}
    assert (told["tokenType"], told["user"]["email"], told["accessToken"]) == ("Bearer", email, told["token"])
    reader.token = told["token"]
    gateway.never_log(reader.token)

    made = reader.do(examples.CREATE, 201).json
    check_created(made)
    gateway.never_log(made["key"])
    key_id = made["id"]
    refused = gateway.ask("GET", "/api/public/budgets", made["key"])
    assert refused.code == "403 ip_not_allowed"

    shown = {name: value for name, value in made.items() if name not in ("key", "webhookSecret")}
    listed = reader.do(examples.LIST, 200).json
    assert listed["pagination"] == {"page": 1, "limit": 20, "total": 1, "hasMore": False}
    assert [shown.items() <= key.items() for key in listed["data"]] == [True]
    got = reader.do(examples.GET, 200, key_id).json
    assert shown.items() <= got.items()
    assert got.keys() == {*shown, "updatedAt", "lastUsedAt", "webhookEvents", "webhookStatus"}
    assert made["key"] not in json.dumps([listed, got])

    changed = reader.do(examples.UPDATE, 200, key_id).json
    wanted = {"name": "Updated Integration Name", "status": "ACTIVE", "rateLimitPerHour": 2000}
    assert {**shown, **wanted}.items() <= changed.items()
    assert reader.do(examples.GET, 200, key_id).json | {"lastUsedAt": None} == changed | {"lastUsedAt": None}

    reader.do(examples.DELETE, 204, key_id)
    assert reader.do(examples.GET, 404, key_id).json["error"] == "not_found"
    assert reader.do(examples.LIST, 200).json["data"] == []
    assert gateway.ask("GET", "/api/public/budgets", made["key"]).code == "401 api_key_revoked"


def test_statistics_are_those_of_the_page(gateway: Gateway, client: Client, base: str, owner: Owner) -> None:
    made = owner.create(scopes=["READ_BUDGETS"])
    for path in ("/v1/api/public/budgets", "/api/public/budgets", "/api/public/customers"):
        gateway.ask("GET", path, made["key"])
    reader = Reader(client, base, owner.token)
    assert wait_until(lambda: reader.do(examples.STATISTICS, 200, made["id"]).json["totalRequests"] == 3, 2)
    told = reader.do(examples.STATISTICS, 200, made["id"]).json
    assert {name: type(told[name]) for name in examples.STATISTICS_MEMBERS} == examples.STATISTICS_MEMBERS
    assert (told["period"], told["successfulRequests"], told["errorRequests"]) == ("7d", 2, 1)
    assert told["topEndpoints"] == [
        {"endpoint": "/api/public/budgets", "method": "GET", "count": 2},
        {"endpoint": "/api/public/customers", "method": "GET", "count": 1},
    ]
    assert all(day.keys() == {"date", "requests"} for day in told["dailyUsage"])
    assert sum(day["requests"] for day in told["dailyUsage"]) == 3
    for period in examples.PERIODS:
        of_period = reader.do(examples.STATISTICS.replace("=7d", f"={period}"), 200, made["id"]).json
        assert (of_period["period"], of_period["totalRequests"]) == (period, 3)


def test_without_a_token_every_management_request_is_refused(client: Client, base: str) -> None:
    for example in (
        examples.CREATE,
        examples.LIST,
        examples.GET,
        examples.UPDATE,
        examples.DELETE,
        examples.STATISTICS,
    ):
        told = Reader(client, base, "YOUR_JWT_TOKEN").do(example, 401, "api_key_123")
        assert told.json["error"] == "unauthorized"
        assert told.headers["www-authenticate"].startswith('Bearer realm="api"')


def test_the_times_of_the_page_have_passed(owner: Owner) -> None:
    body = json.loads(Request.of(examples.CREATE).body or "")
    told = owner.told(422, "POST", "/api-keys", body)
    assert told["details"]["errors"] == [{"field": "expiresAt", "message": "must be in the future"}]


@pytest.mark.parametrize("name", examples.SCOPE_LISTS)
def test_every_list_of_scopes_makes_a_key(owner: Owner, name: str) -> None:
    scopes = examples.SCOPE_LISTS[name]
    assert owner.create(scopes=scopes)["scopes"] == scopes


@pytest.mark.parametrize("setting", examples.SETTINGS, ids=json.dumps)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_every_setting_of_the_page_is_taken_and_shown(owner: Owner, setting: dict[str, Any], method: str) -> None:
    setting = json.loads(filled(json.dumps(setting), ""))
    key = owner.create(**setting) if method == "POST" else owner.change(owner.create()["id"], setting)
    wanted = {name: value.replace("Z", ".000Z") if name == "expiresAt" else value for name, value in setting.items()}
    assert wanted.items() <= key.items()


def test_the_defaults_are_those_of_the_page(owner: Owner) -> None:
    made = owner.told(201, "POST", "/api-keys", {"name": "Only what is required", "scopes": ["READ_BUDGETS"]})
    defaults = {"description": None, "rateLimitPerHour": 1000, "allowedIps": None, "expiresAt": None}
    assert ({**defaults, "webhookUrl": None, "status": "ACTIVE"}).items() <= made.items()
    with_url = owner.create(webhookUrl="https://myapp.com/webhooks/billoget")
    assert with_url["webhookSecret"].startswith("whsec_")


@pytest.mark.parametrize("field", ["name", "scopes"])
def test_what_the_page_requires_is_required(owner: Owner, field: str) -> None:
    body = {"name": "A name", "scopes": ["READ_BUDGETS"]}
    del body[field]
    told = owner.told(422, "POST", "/api-keys", body)
    assert [error["field"] for error in told["details"]["errors"]] == [field]


_KEY_DATA = Request.of(filled(examples.CREATE, "")).body or ""


def test_the_class_in_javascript_makes_a_key_and_tells_its_statistics(
    gateway: Gateway, owner: Owner, base: str
) -> None:
    script = filled(examples.JAVASCRIPT, base) + (
        'const api = new BillogetAPI("");\n'
        "api.jwtToken = process.env.TOKEN;\n"
        "const made = await api.createApiKey(JSON.parse(process.env.KEY_DATA));\n"
        "console.log(JSON.stringify([made, await api.getApiKeyStats(made.id)]));\n"
    )
    done = subprocess.run(
        [tool("node", "nodejs"), "--input-type=module", "-e", script],
        env={"PATH": os.environ["PATH"], "TOKEN": owner.token, "KEY_DATA": _KEY_DATA},
        capture_output=True,
        timeout=10,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made, statistics = json.loads(done.stdout)
    gateway.never_log(made["key"])
    check_created(made)
    assert (statistics["period"], statistics["totalRequests"]) == ("7d", 0)


def test_the_class_in_python_makes_a_key_and_tells_its_statistics(gateway: Gateway, owner: Owner, base: str) -> None:
    names: dict[str, Any] = {}
    exec(filled(examples.PYTHON, base), names)
    api = names["BillogetAPI"](owner.token)
    made = api.create_api_key(json.loads(_KEY_DATA))
    gateway.never_log(made["key"])
    check_created(made)
    statistics = api.get_api_key_stats(made["id"], "24h")
    assert (statistics["period"], statistics["totalRequests"]) == ("24h", 0)
