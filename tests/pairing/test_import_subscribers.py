"""``manage.py import_subscribers``: a file of subscribers and cards, as often as wanted."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from accounts import keyring
from accounts.models import Tenant
from audit import entry
from audit.models import Outbox
from pairing import credentials, importing
from pairing.models import Smartcard, Subscriber
from tests.pairing.conftest import subscribe

HEADER = "subscriber_code,name,sn,login1,password,pin,packages,state"
NOTHING = {
    "subscribers_created": 0,
    "subscribers_changed": 0,
    "smartcards_created": 0,
    "bad_rows": 0,
}


class File:
    """A file to import, and what importing it told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.report = path.with_suffix(".bad.csv")
        self.status = 0

    def write(self, *lines: str, header: str = HEADER) -> "File":
        self.path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
        return self

    def write_bytes(self, content: bytes) -> "File":
        self.path.write_bytes(content)
        return self

    def load(self, **options: Any) -> dict[str, Any]:
        out = io.StringIO()
        self.status = 0
        options = {"tenant": "acme", "json": True, "report": self.report, **options}
        try:
            call_command("import_subscribers", str(self.path), stdout=out, **options)
        except SystemExit as end:
            self.status = int(end.code or 0)
        told: dict[str, Any] = json.loads(out.getvalue())
        return told

    def bad(self) -> list[tuple[int, str, str]]:
        with self.report.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return [(int(row["line"]), row["column"], row["reason"]) for row in rows]


@pytest.fixture
def file(tmp_path: Path, tenant: Tenant) -> File:
    keyring.ensure()
    return File(tmp_path / "subscribers.csv")


def secrets(code: str) -> dict[str, Any]:
    subscriber = Subscriber.objects.get(code=code)
    return credentials.unseal(subscriber.tenant_id, code, subscriber.sealed_credentials)


def cards(code: str) -> list[str]:
    return list(
        Smartcard.objects.filter(subscriber__code=code).order_by("sn").values_list("sn", flat=True)
    )


def test_a_row_makes_a_subscriber_with_a_card_and_sealed_credentials(file: File):
    told = file.write("A1,Ana García,C1,ana,s3 cret ,0042,basic;sport,active").load()
    assert file.status == 0
    assert told.pop("seconds") >= 0
    assert told == {
        **NOTHING,
        "rows": 1,
        "subscribers_created": 1,
        "smartcards_created": 1,
        "dry_run": False,
    }
    subscriber = Subscriber.objects.get(code="A1")
    assert (subscriber.name, subscriber.state) == ("Ana García", "active")
    assert secrets("A1") == {
        "login1": "ana",
        "password": "s3 cret ",
        "pin": "0042",
        "packages": ["basic", "sport"],
    }
    assert cards("A1") == ["C1"]


def test_repeated_codes_add_cards_and_facts(file: File):
    told = file.write("A1,Ana,C1,,,,,", "A1,,C2,ana,,,,", "A1,Ana,C3,,,,,").load()
    assert (told["subscribers_created"], told["smartcards_created"]) == (1, 3)
    assert cards("A1") == ["C1", "C2", "C3"]
    assert secrets("A1") == {"login1": "ana"}


@pytest.mark.parametrize("each_batch_has", [2, 2_000])
def test_five_thousand_rows_are_imported_once_however_often(
    file: File, monkeypatch: pytest.MonkeyPatch, each_batch_has: int
):
    count = 5_000 if each_batch_has > 2 else 20
    monkeypatch.setattr(importing, "BATCH_ROWS", each_batch_has)
    lines = [f"A{n // 2},N{n // 2},C{n},l{n // 2},p{n // 2},1,a;b,active" for n in range(count)]
    told = file.write(*lines).load()
    assert told["subscribers_created"] == count // 2
    assert told["smartcards_created"] == count
    before = list(Subscriber.objects.order_by("pk").values())
    again = file.load()
    assert {name: again[name] for name in NOTHING} == NOTHING
    assert again["rows"] == count
    assert list(Subscriber.objects.order_by("pk").values()) == before
    assert Smartcard.objects.count() == count


def test_a_batch_costs_the_same_queries_however_many_rows_it_has(file: File):
    counts = []
    file.write("A,N,C,l,p,1,a,active").load()
    for start, size in ((0, 10), (1_000, 100)):
        file.write(*(f"A{n},N,C{n},l,p,1,a,active" for n in range(start, start + size)))
        with CaptureQueriesContext(connection) as queries:
            file.load()
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_a_second_file_changes_what_it_says_and_leaves_the_rest(file: File):
    file.write("A1,Ana,C1,ana,old,0042,basic,active", "A2,Bo,C2,bo,p,1,basic,active").load()
    told = file.write("A1,,C1,,new,,,locked", "A2,Bo,,,,,,").load()
    assert (told["subscribers_created"], told["subscribers_changed"]) == (0, 1)
    assert secrets("A1") == {
        "login1": "ana",
        "password": "new",
        "pin": "0042",
        "packages": ["basic"],
    }
    assert Subscriber.objects.get(code="A1").state == "locked"
    assert Subscriber.objects.get(code="A1").name == "Ana"


def test_a_person_stays_linked_to_a_subscriber_that_is_changed(file: File, person: Any):
    file.write("S-1,Anna,,,,,,").load()
    person.refresh_from_db()
    assert (person.subscriber.code, person.subscriber.name) == ("S-1", "Anna")


def test_a_dry_run_tells_the_same_and_writes_nothing(file: File, tenant: Tenant):
    subscribe(tenant, "A1", "C1")
    file.write("A1,Ana,C1,,,,,", "A2,Bo,C2,,,,,", "A2,,C3,,,,,", "A3,X,C1,,,,,")
    dry = file.load(dry_run=True)
    assert (Subscriber.objects.count(), Smartcard.objects.count()) == (1, 1)
    assert Outbox.objects.count() == 0
    wet = file.load()
    assert {**wet, "seconds": 0, "dry_run": True} == {**dry, "seconds": 0}
    assert (dry["subscribers_created"], dry["subscribers_changed"]) == (1, 1)
    assert (dry["smartcards_created"], dry["bad_rows"]) == (2, 1)


def test_bad_rows_are_reported_with_their_reason_and_the_good_ones_are_in(
    file: File, tenant: Tenant
):
    subscribe(tenant, "OLD", "TAKEN")
    rows = [
        (b"A1,Ana,C1,,,,,", None),
        (b",Nobody,C2,,,,,", ("subscriber_code", "missing")),
        (b"A 2,Bo,C2,,,,,", ("subscriber_code", "bad_characters")),
        (b"A2,Bo,C/2,,,,,", ("sn", "bad_characters")),
        (b"A2,Bo,TAKEN,,,,,", ("sn", "belongs_to_another_subscriber")),
        (b"A2,Bo,C1,,,,,", ("sn", "belongs_to_another_subscriber")),
        (b"A1,Eva,C3,,,,,", ("name", "conflicts_with_earlier_row")),
        (b"a1,,C4,,,,,", ("subscriber_code", "differs_in_case")),
        (b"A1,,c1,,,,,", ("sn", "differs_in_case")),
        (b"A2," + b"x" * 201 + b",C2,,,,,", ("name", "too_long")),
        (b"A2,Bo,C2,l\0gin,,,,", ("login1", "nul")),
        (b"A2,B\xff,C2,,,,,", ("name", "not_utf8")),
        (b"A2,B\x07,C2,,,,,", ("name", "control_character")),
        (b"A2,Bo,C2,,,,,frozen", ("state", "unknown_state")),
        (b"A2,Bo,C2", ("", "wrong_number_of_cells")),
        (b'A2,"Bo,C2,,,,,', ("", "malformed")),
        (b"A2," + b"x" * 70_000 + b",C2,,,,,", ("", "line_too_long")),
        (b"", None),
        (b'A3,"Bo, senior",C5,,,,,', None),
    ]
    told = file.write_bytes(b"\n".join((HEADER.encode(), *(line for line, _ in rows)))).load()
    assert file.status == 1
    assert file.bad() == [
        (number, *fault) for number, (_, fault) in enumerate(rows, start=2) if fault
    ]
    assert told["bad_rows"] == len(file.bad())
    assert sorted(Subscriber.objects.values_list("code", "name")) == [
        ("A1", "Ana"),
        ("A3", "Bo, senior"),
        ("OLD", ""),
    ]


def test_every_row_is_either_in_or_reported(file: File):
    lines = [f"A{n},N,C{n % 7},,,,,{'bad' if n % 5 == 0 else ''}" for n in range(100)]
    told = file.write(*lines).load()
    stored = Smartcard.objects.count()
    assert told["rows"] == 100
    assert stored + told["bad_rows"] == 100


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + f"{HEADER}\r\nA1,Ana,C1,,,,,\r\n".encode(),
        b"sn,subscriber_code\nC1,A1\n",
        b"Subscriber_Code,SN\nA1,C1",
    ],
)
def test_a_byte_order_mark_windows_line_ends_and_any_order_of_columns_are_welcome(
    file: File, content: bytes
):
    file.write_bytes(content).load()
    assert file.status == 0
    assert cards("A1") == ["C1"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"code,name\n",
        b"subscriber_code,colour\n",
        b"subscriber_code,sn,sn\n",
        b"subscriber_code;sn\n",
        "subscriber_code,sn\n".encode("utf-16"),
        b"\xff\xfe\x00\x01",
    ],
)
def test_a_file_with_a_wrong_header_is_not_read_at_all(file: File, content: bytes):
    with pytest.raises(CommandError) as refused:
        file.write_bytes(content).load()
    assert refused.value.returncode == 2


def test_a_file_that_is_not_there_and_an_unknown_tenant_end_with_two(file: File):
    for options in ({}, {"tenant": "nobody"}):
        with pytest.raises(CommandError) as refused:
            file.load(**options)
        assert refused.value.returncode == 2


def test_another_tenants_cards_are_no_obstacle(file: File, other_tenant: Tenant):
    subscribe(other_tenant, "A1", "C1")
    file.write("A1,Ana,C1,,,,,").load()
    assert file.status == 0
    assert Smartcard.objects.filter(sn="C1").count() == 2


def test_each_batch_that_changed_something_has_its_record(
    file: File, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(importing, "BATCH_ROWS", 2)
    file.write("A1,,C1,,,,,", "A2,,C2,,,,,", "A3,,C3,,,,,")
    Outbox.objects.all().delete()
    file.load()
    file.load()
    records = [entry.decode(row.entry) for row in Outbox.objects.order_by("id")]
    assert [record["action"] for record in records] == ["subscribers.imported"] * 2
    assert [record["detail"]["smartcards_created"] for record in records] == [2, 1]


def test_a_batch_that_fails_leaves_nothing_of_itself(file: File, monkeypatch: pytest.MonkeyPatch):
    def broken(*arguments: Any, **facts: Any) -> None:
        raise IntegrityError("somebody else was faster, again and again")

    monkeypatch.setattr("audit.record_with_change", broken)
    with pytest.raises(IntegrityError):
        file.write("A1,,C1,,,,,").load()
    assert Subscriber.objects.count() == 0


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_a_card_that_somebody_stored_meanwhile_is_decided_again(
    file: File, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
):
    decide: Callable[..., Any] = importing.Import._decide
    rivals = iter(["RIVAL"])

    def store(code: str) -> None:
        subscribe(tenant, code, "C1")
        connection.close()

    def outrun(work: importing.Import, rows: Any) -> Any:
        decided = decide(work, rows)
        for code in rivals:
            rival = Thread(target=store, args=[code])
            rival.start()
            rival.join()
        return decided

    monkeypatch.setattr(importing.Import, "_decide", outrun)
    told = file.write("A1,,C1,,,,,", "A2,,C2,,,,,").load()
    assert file.bad() == [(2, "sn", "belongs_to_another_subscriber")]
    assert told["smartcards_created"] == 1
    assert not Subscriber.objects.filter(code="A1").exists()
