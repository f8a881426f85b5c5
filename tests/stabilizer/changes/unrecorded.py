"""Doors through which nothing is changed, and why; each is tried."""

from typing import NamedTuple

PAGE = r"/admin/\w+/\w+/"
ROW = r"<path:object_id>/"


class Unrecorded(NamedTuple):
    """Doors that match `doors`. Each answers one of `statuses`, and no table is written to."""

    doors: str
    why: str
    statuses: tuple[int, ...] = (200, 302, 403, 404, 405)


UNRECORDED = (
    Unrecorded(r"POST /", "the first page is only looked at", (405,)),
    Unrecorded(r"POST /demo/tv/", "the page is only looked at", (404, 405)),
    Unrecorded(r"POST /ops/(day/|stream/)?", "the figures are only looked at", (403, 405)),
    Unrecorded(r"POST /admin/explain/", "what is in the trail is only looked at", (405,)),
    Unrecorded(r"POST /i18n/setlang/", "the language is kept in a cookie"),
    Unrecorded(r"POST /\(\?:api\|oauth\|.*", "there is nothing", (404,)),
    Unrecorded(r"\w+ /admin/login/", "leads to the one login page", (302,)),
    Unrecorded(r"POST /admin/(password_change/done/|autocomplete/|jsi18n/|r/.*)?", "only reads"),
    Unrecorded(r"POST /admin/\(\?P<(app_label|url)>.*", "only reads"),
    Unrecorded(rf"POST {PAGE}", "a list is edited by its actions alone"),
    Unrecorded(rf"POST {PAGE}{ROW}history/", "only reads"),
    Unrecorded(rf"\w+ {PAGE}{ROW}", "leads to the page on which the row is changed", (302,)),
    Unrecorded(r"POST /admin/accounts/apikey/<.*>/change/", "a key is only shown", (302,)),
    Unrecorded(r"POST /admin/accounts/apikey/<.*>/delete/", "a key is revoked instead", (403,)),
    Unrecorded(r"POST /admin/accounts/tenant/<.*>/delete/", "nobody deletes a tenant", (403,)),
    Unrecorded(r"POST /admin/accounts/keyringkey/.*(add|change|delete)/", "only shown", (403,)),
    Unrecorded(
        r"POST /admin/pairing/(subscriber|smartcard)/.*delete/", "the trail names it", (403,)
    ),
    Unrecorded(r"POST /admin/pairing/pairing/.*(add|change|delete)/", "states decide", (403,)),
    Unrecorded(r"POST /admin/ratelimit/policyrow/(add/|.*delete/)", "policies are code", (403,)),
    Unrecorded(r"POST /admin/ratelimit/flag/(add/|.*delete/)", "steps are code", (403,)),
    Unrecorded(
        r"POST /admin/ratelimit/rollout/<.*>/(change|delete)/", "it is moved by actions", (403,)
    ),
    Unrecorded(
        r"POST /admin/audit/(event|deadletter|day)/.*(add|change|delete)/", "it stays", (403,)
    ),
    Unrecorded(r"POST /admin/audit/hold/.*(change|delete)/", "it is released instead", (403,)),
    Unrecorded(r"POST /admin/audit/event/export/.*", "a file is only taken", (405,)),
)

#: Doors that no request or command of the walk goes through, and why that is no gap.
OTHERWISE = {
    "manage.py stampede": "starts a load process that is a client as any other",
    "manage.py explain": "only reads",
    "manage.py policy backtest": "only reads",
    "manage.py policy rollout status": "only reads",
    "manage.py asyncapi": "writes a document of the protocol",
    "manage.py audit stats": "only reads",
    "manage.py audit tail": "only reads",
    "manage.py audit dlq list": "only reads",
    "manage.py audit dlq show": "only reads",
    "manage.py audit hold list": "only reads",
    "manage.py audit ship": "moves records into the trail as they are",
    "task audit.tasks.store": "moves records into the trail as they are",
    "task audit.tasks.move_outbox": "moves records into the trail as they are",
    "task audit.tasks.checkpoint": "writes a file that says how far the trail has come",
    "task audit.tasks.make_partitions": "room for records to come",
}

#: Doors whose records other tests assert: the file, and the actions that it names.
ELSEWHERE = {
    "manage.py audit verify": ("tests/audit/test_console.py", "audit.chain_broken"),
    "manage.py audit retention": ("tests/audit/test_retention.py", "audit.day_dropped"),
    "task audit.tasks.retain": ("tests/audit/test_retention.py", "audit.day_closed"),
}
#: Actions that no door causes, and the tests that do.
WITHOUT_A_DOOR = {
    "flag.expired": "tests/ratelimit/test_flags.py",
    "key.used": "tests/stabilizer/gate/test_usage.py",
    "policy.rollout_withdrawn": "tests/stabilizer/ops/test_watch.py",
    "keyring.changed": "tests/accounts/test_keyring.py",
    "audit.suppressed": "tests/audit/test_spool.py",
    "audit.records_missing": "tests/audit/test_shipping.py",
}
