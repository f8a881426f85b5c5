"""The stampede counts what happened, honours what it is told, and goes for nobody uninvited."""

import asyncio
import base64
import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from hypothesis import given
from hypothesis import strategies as st

from ratelimit import revision
from stabilizer import demo, listener
from stabilizer.stampede import __main__ as stampede
from stabilizer.stampede import options, plot, report, target
from stabilizer.stampede.connection import Broken, Connection
from stabilizer.stampede.crowd import crowd
from stabilizer.stampede.device import Device, Errand, Identity, are_right
from stabilizer.stampede.tally import Spread, Step, Tally, percentile
from stabilizer.stampede.target import NoTarget, Target
from tests.stabilizer import processes

# Figures


def test_percentiles_are_values_that_occurred():
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, percent) for percent in (50, 95, 100)] == [50, 95, 100]
    assert percentile([7.0], 50) == percentile([7.0], 95) == 7


@given(st.lists(st.floats(0, 100), min_size=1), st.integers(1, 100))
def test_a_percentile_is_not_exceeded_by_its_share(values, percent):
    at = percentile(sorted(values), percent)
    not_above = sum(value <= at for value in values)
    below = sum(value < at for value in values)
    assert not_above * 100 >= percent * len(values) > below * 100


def test_a_spread_of_nothing_is_zero():
    assert Spread.of([]) == Spread(0, 0, 0, 0, 0)
    assert Spread.of([1, 3]) == Spread(2, 2, 1, 3, 3)


def test_served_and_seed_success_are_shares_of_all_devices():
    tally = Tally(8)
    tally.created = 7
    for _ in range(6):
        tally.serve(arrived=1.0, now=2.5)
    assert (tally.served_percent, tally.seed_success_percent) == (75, 87.5)
    assert not tally.everybody_served


def test_refusals_are_no_answers_and_counted_apart():
    tally = Tally(1)
    tally.refused(Step.CREATE, 429, 1.0)
    tally.refused(Step.CREATE, 503, 2.0)
    tally.refused(Step.ACK, 503, 2.5)
    document = report.document(tally, took_s=3.0, cpu_s=1.0)
    assert (document["429"], document["503"]) == (1, 2)
    assert document["steps"]["create"]["count"] == 0
    assert document["steps"]["ack"]["503"] == 1
    assert document["mean_try"] == document["answered_percent"] == 0


def test_a_try_without_an_answer_counts_with_the_time_it_cost():
    tally = Tally(1)
    tally.answered(Step.CREATE, 1.0, 1.0)
    tally.answered(Step.STATUS, 3.0, 4.0)
    tally.broke("timeout", 10.0)
    tally.broke("lost", 2.0)
    document = report.document(tally, took_s=16.0, cpu_s=0.5)
    assert document["answers"] == {"count": 2, "mean": 2, "p50": 1, "p95": 3, "max": 3}
    assert (document["mean_try"], document["answered_percent"]) == (4, 50)
    assert document["transport_errors"] == {"timeout": 1, "lost": 1}


def test_the_peak_is_that_of_the_best_five_seconds_in_a_row():
    tally = Tally(1)
    for second, answers in enumerate([10, 100, 100, 0, 100, 100, 100, 5]):
        for _ in range(answers):
            tally.answered(Step.STATUS, 0.1, second + 0.5)
    assert tally.peak_per_second == 400 / 5
    assert Tally(1).peak_per_second == 0


def test_a_program_hears_when_each_device_was_served_and_what_the_load_cost():
    tally = Tally(2, clock_zero=100.0)
    tally.serve(arrived=100.0, now=101.2345)
    tally.serve(arrived=100.5, now=102.0)
    document = report.document(tally, took_s=2.0, cpu_s=0.25)
    assert (document["served_at"], document["load_cpu_s"]) == ([1.234, 2.0], 0.25)


# Devices


def test_forty_thirty_and_thirty_in_a_hundred_have_their_errands():
    errands = Counter(identity.errand for identity in crowd(1000))
    assert errands == {Errand.PAIR: 400, Errand.ONLY_CREATE: 300, Errand.PAIR_AGAIN: 300}
    assert sum(identity.leaves for identity in crowd(1000)) == 100


def test_ten_thousand_devices_share_neither_name_nor_network_nor_smartcard():
    devices = crowd(10_000)
    for facts in (
        {device.udid for device in devices},
        {device.address.rpartition(".")[0] for device in devices},
        {device.smartcard_sn for device in devices},
    ):
        assert len(facts) == 10_000
    assert {device.subscriber_code for device in devices} == {
        demo.subscriber_code(number) for number in range(1, 1001)
    }


def test_smartcards_are_named_as_the_demo_names_them():
    assert Identity(0, 0).smartcard_sn == demo.smartcard_sn(1, 10)
    assert Identity(9_999, 0).smartcard_sn == demo.smartcard_sn(1000, 1)


def token(**claims: str) -> str:
    text = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"head.{text}.signature"


def test_only_the_devices_own_credentials_are_right():
    identity = Identity(4, 0)
    own = {
        "access_token": token(sub=identity.subscriber_code, dev=identity.udid),
        "credentials": {"login1": "s000005"},
    }
    assert are_right(own, identity)
    other = token(sub="S000006", dev=identity.udid)
    assert not are_right(own | {"access_token": other}, identity)
    assert not are_right(own | {"access_token": token(sub="S000005", dev="other")}, identity)
    assert not are_right(own | {"credentials": {"login1": "s000006"}}, identity)
    assert not are_right(own | {"access_token": "not a token"}, identity)
    assert not are_right({}, identity)


# Targets


def environ(tmp_path: Path, **up: str) -> dict[str, str]:
    lines = "".join(f"{name}={value}\n" for name, value in up.items())
    (tmp_path / "up.env").write_text(lines)
    return {"RUN_DIR": str(tmp_path)}


def test_what_is_up_is_the_target(tmp_path):
    described = environ(tmp_path, BASE_URL="http://127.0.0.1:9000", API_KEY="stb_a_b")
    found = target.find(None, allow_remote=False, environ=described)
    assert found == Target("127.0.0.1", 9000, secure=False, api_key="stb_a_b")


def test_the_environments_key_wins(tmp_path):
    described = environ(tmp_path, BASE_URL="http://127.0.0.1:9000", API_KEY="stb_a_b")
    found = target.find("http://[::1]:80", allow_remote=False, environ=described | {"API_KEY": "k"})
    assert (found.authority, found.api_key) == ("[::1]:80", "k")


def test_without_a_target_it_says_how_to_get_one(tmp_path):
    with pytest.raises(NoTarget, match="make up"):
        target.find(None, allow_remote=False, environ={"RUN_DIR": str(tmp_path)})


@pytest.mark.parametrize(
    "url", ["http://example.org", "http://192.0.2.7:9000", "https://127.0.0.1.example.org"]
)
def test_other_machines_need_to_be_allowed(url):
    with pytest.raises(NoTarget, match="--allow-remote"):
        target.find(url, allow_remote=False, environ={"API_KEY": "k"})
    assert not target.find(url, allow_remote=True, environ={"API_KEY": "k"}).is_loopback


@pytest.mark.parametrize("url", ["127.0.0.1:9000", "ftp://127.0.0.1", "http://", "http://a:99999"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(NoTarget):
        target.find(url, allow_remote=True, environ={"API_KEY": "k"})


@pytest.mark.parametrize("url", ["http://localhost:9000", "http://127.0.0.9:9000"])
def test_loopback_needs_a_key_and_nothing_else(url, tmp_path):
    assert target.find(url, allow_remote=False, environ={"API_KEY": "k"}).is_loopback
    with pytest.raises(NoTarget, match="API_KEY"):
        target.find(url, allow_remote=False, environ={"RUN_DIR": str(tmp_path)})


def test_a_refused_target_is_status_2_and_nothing_is_sent(monkeypatch, capsys):
    monkeypatch.setenv("API_KEY", "k")
    assert stampede.main(["--url", "http://192.0.2.7:9000"]) == 2
    assert "--allow-remote" in capsys.readouterr().err


# Options


def test_the_words_of_the_command_reach_the_load_process():
    given = {
        "devices": 50,
        "rate": 2.5,
        "json": True,
        "at_once": False,
        "url": None,
        "verbosity": 1,
    }
    assert options.words(given) == ["--devices=50", "--rate=2.5", "--json"]


@pytest.mark.parametrize("words", [["--devices", "0"], ["--devices", "10001"], ["--rate", "0"]])
def test_a_stampede_is_bounded(words, capsys):
    with pytest.raises(SystemExit):
        stampede.main(words)
    assert words[0] in capsys.readouterr().err


# The connection, and a server that answers as it is told

Script = list[bytes | None]


class Scripted:
    """Answers one request after the other with these bytes; None hangs up, "" keeps silent."""

    def __init__(self, *script: bytes | None) -> None:
        self.script: Script = list(script)
        self.requests: list[bytes] = []
        self.connections = 0
        self.serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Scripted":
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        self.target = Target("127.0.0.1", port, secure=False, api_key="key")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()
        await ends(self.serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.serving.add(asyncio.current_task())
        try:
            while self.script:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                self.requests.append(head + await reader.readexactly(int(length or 0)))
                answer = self.script.pop(0)
                if answer is None:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            pass
        finally:
            writer.close()


async def ends(serving: set[asyncio.Task[None]]) -> None:
    """Wait for those who serve a client that has left: they have yet to notice."""
    if serving:
        _, pending = await asyncio.wait(serving, timeout=5)
        assert not pending


def answer(status: int, body: dict[str, Any] | None = None, *headers: str) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Any", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content


REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_one_connection_carries_a_devices_requests():
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    async with Scripted(answer(200, {"a": 1}), answer(204), chunked) as server:
        connection = Connection(server.target)
        answers = [await connection.ask(REQUEST, 5) for _ in range(3)]
        connection.close()
    assert [one.status for one in answers] == [200, 204, 200]
    assert [one.json() for one in answers] == [{"a": 1}, {}, {}]
    assert server.connections == 1


async def test_a_connection_that_the_server_closes_is_opened_again():
    async with Scripted(answer(200, None, "Connection: close"), answer(200)) as server:
        connection = Connection(server.target)
        for _ in range(2):
            assert (await connection.ask(REQUEST, 5)).status == 200
        connection.close()
    assert server.connections == 2


async def test_an_answer_that_breaks_off_is_lost():
    async with Scripted(None) as server:
        connection = Connection(server.target)
        with pytest.raises(Broken, match="lost"):
            await connection.ask(REQUEST, 5)


async def test_an_answer_that_is_not_http_is_lost():
    async with Scripted(b"SSH-2.0-OpenSSH\r\n") as server:
        with pytest.raises(Broken, match="lost"):
            await Connection(server.target).ask(REQUEST, 5)


async def test_silence_is_a_timeout():
    async with Scripted(b"", answer(200)) as server:
        connection = Connection(server.target)
        with pytest.raises(TimeoutError):
            await connection.ask(REQUEST, 0.05)
        assert (await connection.ask(REQUEST, 5)).status == 200
        connection.close()
    assert server.connections == 2


async def test_a_closed_port_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    closed = Target("127.0.0.1", port, secure=False, api_key="")
    with pytest.raises(Broken, match="refused"):
        await Connection(closed).ask(REQUEST, 5)


ONLY_CREATES = Identity(4, 0)
CREATED = answer(201, {"user_code": "A", "device_code": "dc"})


async def run(identity: Identity, server: Scripted, deadline_s: float = 20) -> Tally:
    tally = Tally(1)
    await Device(identity, server.target, tally, deadline_s).run()
    return tally


async def test_a_device_says_who_it_is():
    async with Scripted(CREATED) as server:
        tally = await run(Identity(4, 0x0203), server)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert b"X-Forwarded-For: 10.2.3.5" in head
    assert b"X-Device-Fingerprint: stampede-device-000004" in head
    assert json.loads(body)["udid"] == "stampede-device-000004"
    assert tally.everybody_served


@pytest.mark.parametrize("status", [429, 503])
async def test_a_refused_device_returns_when_it_was_told_to(status):
    async with Scripted(answer(status, {}, "Retry-After: 1"), CREATED) as server:
        tally = await run(ONLY_CREATES, server)
    assert tally.refusals_of(status) == 1
    assert tally.everybody_served
    assert 1 <= tally.waits[0] < 5


async def test_a_device_told_to_return_after_its_deadline_gives_up_at_once():
    async with Scripted(answer(503, {}, "Retry-After: 60"), CREATED) as server:
        tally = await run(ONLY_CREATES, server, deadline_s=5)
    assert dict(tally.failures) == {"create: late": 1}
    assert (tally.served, tally.done, len(server.requests)) == (0, 1, 1)


async def test_a_broken_connection_is_counted_and_tried_again():
    async with Scripted(None, CREATED) as server:
        tally = await run(ONLY_CREATES, server)
    assert dict(tally.transport) == {"lost": 1}
    assert len(tally.broken) == 1
    assert tally.everybody_served
    assert not tally.is_flawless


@pytest.mark.parametrize(
    ("script", "status"),
    [((CREATED,), 0), ((None, CREATED), 1), ((answer(400, {"code": "invalid"}),), 1)],
    ids=["served", "served after a lost connection", "not served"],
)
async def test_status_0_means_that_all_were_served_without_a_transport_error(
    script, status, monkeypatch, capsys
):
    monkeypatch.setenv("API_KEY", "k")
    monkeypatch.setattr(stampede.crowd, "crowd", lambda devices: [ONLY_CREATES])
    async with Scripted(*script) as server:
        words = ["--url", f"http://127.0.0.1:{server.target.port}", "--devices=1", "--json"]
        assert await asyncio.to_thread(stampede.main, words) == status
    written = capsys.readouterr()
    assert json.loads(written.out)["devices"] == 1
    assert written.err.splitlines() == [options.PREPARED]


async def test_an_error_is_counted_with_its_code():
    async with Scripted(answer(400, {"code": "invalid"})) as server:
        tally = await run(ONLY_CREATES, server)
    assert dict(tally.failures) == {"create: 400 invalid": 1}


# The picture


def test_a_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    tally = Tally(2)
    tally.serve(0, 1)
    tally.refused(Step.CREATE, 503, 0.5)
    plot.draw(tally, tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setenv("API_KEY", "k")
    assert stampede.main(["--url", "http://127.0.0.1:1", "--plot", "run.png"]) == 2
    assert "--extra plot" in capsys.readouterr().err


# Real runs


def test_the_load_process_knows_nothing_of_django():
    code = "import stabilizer.stampede.__main__, sys; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_nobody_is_served_where_nobody_listens(monkeypatch, capsys):
    monkeypatch.setenv("API_KEY", "k")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = ["--devices", "7", "--deadline", "0.5", "--json", "--url", f"http://127.0.0.1:{port}"]
    assert stampede.main(words) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["served"], document["failures"]) == (0, {"create: late": 7})
    assert document["transport_errors"]["refused"] >= 7


@pytest.fixture
def service(transactional_db, redis_client) -> Iterator[Callable[[], int]]:
    """A running service with the demo's data: its port, and the key in API_KEY."""
    # An earlier test may have left its keys in this process.
    revision.refresh()
    made = demo.make(subscribers=60, cards=10)
    revision.refresh()
    with listener.listen("127.0.0.1", 0, 1024)[0] as shared:
        words = {"fds": [shared.fileno()], "TRUSTED_PROXIES": "127.0.0.1/32"}
        servers = [processes.start("--fd", str(shared.fileno()), **words) for _ in "ab"]
        with processes.ended(*servers), pytest.MonkeyPatch.context() as patch:
            patch.setenv("API_KEY", made.api_key)
            processes.wait_for_server(shared.getsockname()[1])
            yield shared.getsockname()[1]


@pytest.mark.processes
def test_fifty_devices_at_once_are_served_twice_in_a_row(service, capfd):
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            call_command(
                "stampede", devices=50, url=f"http://127.0.0.1:{service}", json=True, deadline=120
            )
        document = json.loads(capfd.readouterr().out)
        assert ended.value.code == 0, document
        assert document["served_percent"] == document["seed_success_percent"] == 100
        assert document["steps"]["create"]["count"] == 50
        assert document["steps"]["credentials"]["count"] == 35
        assert document["steps"]["ack"]["count"] == 35
        assert document["transport_errors"] == {}
