"""HAProxy's Lua script: how it asks for a decision, and what it makes of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from gateway.core import decision as d
from gateway.core.denials import refuse
from gateway.render.front import ANNOUNCED, DECISION_ANSWER_S, IDENTITY, RATE_LIMIT, error_body

if TYPE_CHECKING:
    from gateway.render.front import Front

_TOLD: Final = ("X-Gateway-Upstream", "X-Gateway-Target", *IDENTITY, *RATE_LIMIT, *ANNOUNCED)
_UNPASSED: Final = (
    *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect"),
    *("content-length", "forwarded", "x-request-id"),
)
"""Fields that the decision does not get: they are of one connection, of the body, or not for the client to say."""

_SCRIPT: Final = """\
-- Written by `gateway render haproxy --lua` from the settings of version @VERSION@. Change gateway.yaml and write it
-- again, with haproxy.cfg.

local TOLD = @TOLD@
local UNPASSED = @UNPASSED@

-- The fields go along, for the key is in one of them; the body does not.
local function fields(txn)
    local asked = {}
    local sent = txn.http:req_get_headers()
    for name, values in pairs(sent) do
        local all = {}
        for place = 0, #values do
            all[#all + 1] = values[place]
        end
        asked[name] = all
    end
    for _, name in ipairs(UNPASSED) do
        asked[name] = nil
    end
    asked["host"] = { "gateway" }
    asked["x-forwarded-method"] = { txn.sf:method() }
    asked["x-forwarded-uri"] = { txn.sf:url() }
    asked["x-forwarded-for"] = { txn:get_var("txn.gateway_forwarded_for") }
    asked["x-original-content-length"] = { sent["content-length"] and sent["content-length"][0] or "" }
    return asked
end

local function undecided(txn)
    local now = core.now()
    local time = os.date("!%Y-%m-%dT%H:%M:%S", now.sec) .. string.format(".%03dZ", now.usec // 1000)
    local id = txn:get_var("txn.gateway_id")
    local reply = txn:reply({ status = 503 })
    reply:add_header("Content-Type", "application/json; charset=utf-8")
    reply:add_header("Cache-Control", "no-store")
    reply:add_header("Retry-After", "@RETRY@")
    reply:set_body(@BEFORE@ .. time .. @BETWEEN@ .. id .. @AFTER@)
    txn:done(reply)
end

local function decide(txn)
    local asking = { url = @URL@, dst = @PLACE@, headers = fields(txn), timeout = @TIMEOUT@ }
    local asked, answer = pcall(function() return core.httpclient():get(asking) end)
    local told = asked and answer and answer.headers or {}
    -- HAProxy answers itself, with 503 or 504, when nobody else does.
    if not told["x-request-id"] then
        return undecided(txn)
    end
    txn:set_var("txn.gateway_id", told["x-request-id"][0])
    if answer.status == 200 then
        for name, variable in pairs(TOLD) do
            txn:set_var(variable, told[name] and told[name][0] or "")
        end
        return
    end
    local reply = txn:reply({ status = answer.status, reason = answer.reason })
    for name, values in pairs(told) do
        if name ~= "content-length" and name ~= "connection" and name ~= "date" and name ~= "server" then
            for place = 0, #values do
                reply:add_header(name, values[place])
            end
        end
    end
    reply:set_body(answer.body or "")
    txn:done(reply)
end

core.register_action("gateway_decide", { "http-req" }, decide, 0)
"""


def haproxy_script(front: Front) -> str:
    """Give the text of the script that the haproxy.cfg of *front* loads."""
    where = front.decisions
    refusal = refuse(d.KeysUnavailable())
    before, rest = error_body(refusal, "@ID@", "@TIME@").split("@TIME@")
    between, after = rest.split("@ID@")
    names = ", ".join(f"[{json.dumps(name.lower())}] = {json.dumps(variable(name))}" for name in _TOLD)
    retry = dict(refusal.headers).get("Retry-After", "1")
    filled = {
        "VERSION": front.snapshot.version,
        "TOLD": f"{{ {names} }}",
        "UNPASSED": f"{{ {', '.join(map(json.dumps, _UNPASSED))} }}",
        "RETRY": retry,
        "BEFORE": json.dumps(before),
        "BETWEEN": json.dumps(between),
        "AFTER": json.dumps(after),
        "URL": json.dumps(f"http://gateway{front.endpoint}/forward"),
        "PLACE": json.dumps(where.authority if where.path is None else f"unix@{where.path}"),
        "TIMEOUT": str(round(DECISION_ANSWER_S * 1000)),
    }
    text = _SCRIPT
    for name, value in filled.items():
        text = text.replace(f"@{name}@", value)
    return text


def variable(name: str) -> str:
    """Give the variable that the field *name* of a decision is kept in."""
    return f"txn.gateway_{name.lower().removeprefix('x-').removeprefix('gateway-').replace('-', '_')}"
