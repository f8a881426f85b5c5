"""Serving behaves as Django's own ASGI handler does, in a bounded pool of threads."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.core import signals
from django.db import connection, connections

from stabilizer import serving as serving_module
from stabilizer.serving import Message, Serving
from tests.stabilizer import serving_views
from tests.stabilizer.serving_views import Stage

BODY_END = {"type": "http.response.body", "body": b""}


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    fresh = Stage()
    monkeypatch.setattr(serving_views, "stage", fresh)
    yield fresh
    fresh.proceed.set()


@pytest.fixture
def urls(settings):
    settings.ROOT_URLCONF = "tests.stabilizer.serving_views"
    settings.MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
    settings.DEBUG = False
    settings.ALLOWED_HOSTS = ["*"]
    settings.TEMPLATES = []
    settings.SECURE_SSL_REDIRECT = False


@pytest.fixture
def app(urls, stage) -> Iterator[Serving]:
    app = Serving(threads=2)
    yield app
    stage.proceed.set()
    assert app.close()


@pytest.fixture
def one_thread(urls, stage) -> Iterator[Serving]:
    app = Serving(threads=1)
    yield app
    stage.proceed.set()
    assert app.close()


class Signals:
    """Who sent `request_started` and `request_finished`, and in which thread."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.finished: list[int] = []

    def on_started(self, **_: Any) -> None:
        self.started.append(threading.get_ident())

    def on_finished(self, **_: Any) -> None:
        self.finished.append(threading.get_ident())


@pytest.fixture
def heard() -> Iterator[Signals]:
    heard = Signals()
    signals.request_started.connect(heard.on_started)
    signals.request_finished.connect(heard.on_finished)
    yield heard
    signals.request_started.disconnect(heard.on_started)
    signals.request_finished.disconnect(heard.on_finished)


def scope(path: str = "/", method: str = "GET", **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": ("192.0.2.7", 4711),
        "server": ("localhost", 80),
        **more,
    }


class Answered:
    def __init__(self, messages: list[Message]) -> None:
        self.status: int = messages[0]["status"]
        self.raw_headers = messages[0]["headers"]
        self.headers = {name.lower().decode(): value.decode() for name, value in self.raw_headers}
        self.parts = [message.get("body", b"") for message in messages[1:]]
        self.body = b"".join(self.parts)
        self.complete = not messages[-1].get("more_body", False)


async def ask(app: Serving, path: str = "/", *bodies: bytes, **more: Any) -> Answered:
    """One request with its body in `bodies` messages, and the whole answer."""
    communicator = ApplicationCommunicator(app, scope(path, **more))
    parts = bodies or (b"",)
    for number, part in enumerate(parts, 1):
        last = number == len(parts)
        await communicator.send_input({"type": "http.request", "body": part, "more_body": not last})
    messages: list[Message] = [await communicator.receive_output(5)]
    while messages[-1]["type"] == "http.response.start" or messages[-1].get("more_body"):
        messages.append(await communicator.receive_output(5))
    await communicator.wait(5)
    return Answered(messages)


def begin(app: Serving, path: str, **more: Any) -> ApplicationCommunicator:
    return ApplicationCommunicator(app, scope(path, **more))


# Requests


async def test_answers_with_status_headers_and_body(app):
    answered = await ask(app)
    assert answered.status == 200
    assert set(answered.raw_headers) == {
        (b"Content-Type", b"text/html; charset=utf-8"),
        (b"Content-Length", b"12"),
    }
    assert answered.parts == [b"Hello World!"]


@pytest.mark.parametrize("query", [b"name=Andrew", "name=Andrew"])
async def test_reads_the_query_string(app, query):
    assert (await ask(app, query_string=query)).body == b"Hello Andrew!"


async def test_a_query_string_that_is_not_utf8_is_a_bad_request(app, heard):
    answered = await ask(app, query_string=b"\xff")
    assert (answered.status, answered.body) == (400, b"")
    assert (len(heard.started), len(heard.finished)) == (1, 1)


async def test_paths_beyond_ascii_are_routed(app):
    assert (await ask(app, "/grüße/")).body == b"Hello World!"
    assert (await ask(app, "/gr\ufffd/")).status == 404


async def test_repeated_headers_are_joined_and_underscores_not_believed(app):
    headers = [
        (b"host", b"localhost"),
        (b"referer", b"Scotland"),
        (b"referer", b"Wales"),
        (b"x_under_score", b"forged"),
        (b"content-type", b"text/plain"),
    ]
    meta = json.loads((await ask(app, "/meta/", headers=headers)).body)
    assert meta["HTTP_REFERER"] == "Scotland,Wales"
    assert meta["HTTP_X_UNDER_SCORE"] is None
    assert meta["CONTENT_TYPE"] == "text/plain"
    assert (meta["REMOTE_ADDR"], meta["SERVER_NAME"]) == ("192.0.2.7", "localhost")


async def test_the_root_path_is_the_script_prefix(app):
    meta = json.loads((await ask(app, "/mounted/meta/", root_path="/mounted")).body)
    assert (meta["path"], meta["path_info"]) == ("/mounted/meta/", "/meta/")
    assert meta["reverse"] == "/mounted/meta/"


async def test_the_script_prefix_of_one_request_is_not_the_next_ones(one_thread):
    await ask(one_thread, "/mounted/meta/", root_path="/mounted")
    assert json.loads((await ask(one_thread, "/meta/")).body)["reverse"] == "/meta/"


async def test_force_script_name_wins(app, settings):
    settings.FORCE_SCRIPT_NAME = "/forced"
    meta = json.loads((await ask(app, "/forced/meta/", root_path="/ignored")).body)
    assert (meta["path_info"], meta["reverse"]) == ("/meta/", "/forced/meta/")


async def test_the_scheme_is_the_scopes(app):
    assert json.loads((await ask(app, "/meta/", scheme="https")).body)["scheme"] == "https"


async def test_views_see_the_pressure_the_gate_found(app):
    class Admission:
        pressure = 2

    admitted = {"stabilizer.admission": Admission()}
    assert json.loads((await ask(app, "/meta/", **admitted)).body)["pressure"] == 2
    assert json.loads((await ask(app, "/meta/")).body)["pressure"] == 0


@pytest.mark.parametrize("kind", ["websocket", "lifespan", "other"])
async def test_other_connections_than_http_are_refused(app, kind):
    with pytest.raises(ValueError, match=kind):
        await app(scope(type=kind), None, None)


# Bodies


async def test_a_body_in_one_message_reaches_the_view(app):
    assert (await ask(app, "/echo/", b"Echo!", method="POST")).body == b"Echo!"


async def test_a_body_in_many_messages_reaches_the_view_whole(app):
    assert (await ask(app, "/echo/", b"a", b"b", b"", b"c", method="POST")).body == b"abc"


async def test_a_body_larger_than_memory_may_hold_is_spooled_and_arrives(app, settings):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1000
    parts = [bytes([number]) * 700 for number in range(5)]
    assert (await ask(app, "/echo/", *parts, method="POST")).body == b"".join(parts)


async def test_a_body_over_the_limit_is_refused_by_django(app, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    headers = [(b"host", b"localhost"), (b"content-length", b"11")]
    answered = await ask(app, "/echo/", b"x" * 11, method="POST", headers=headers)
    assert answered.status == 400


async def test_an_untouched_body_is_closed(app, stage, monkeypatch):
    bodies = []
    read_body = serving_module.read_body

    async def keep(receive):
        bodies.append(await read_body(receive))
        return bodies[0]

    monkeypatch.setattr(serving_module, "read_body", keep)
    answered = await ask(app, "/untouched/", b"unread", method="POST")
    assert (answered.status, answered.body) == (204, b"")
    assert [body and body.closed for body in bodies] == [True]


async def test_uploaded_files_arrive_and_are_closed(app, stage, settings):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10
    form = (
        b'--X\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
        b'--X\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
        + bytes(5000)
        + b"\r\n--X--\r\n"
    )
    headers = [
        (b"host", b"localhost"),
        (b"content-type", b"multipart/form-data; boundary=X"),
        (b"content-length", str(len(form)).encode()),
    ]
    answered = await ask(app, "/upload/", form[:3000], form[3000:], method="POST", headers=headers)
    assert json.loads(answered.body) == {"name": "a.bin", "size": 5000, "note": "hello"}
    assert stage.uploaded.closed


# Answers


async def test_each_cookie_has_a_header_of_its_own(app):
    headers = [(b"host", b"localhost"), (b"cookie", b"a=1; b=2")]
    answered = await ask(app, "/cookies/", headers=headers)
    set_cookies = [value for name, value in answered.raw_headers if name == b"Set-Cookie"]
    assert set_cookies == [b"first=1; Path=/", b"second=2; HttpOnly; Path=/"]
    assert answered.body == b"a,b"


async def test_head_has_the_headers_of_get_and_no_body(app):
    answered = await ask(app, method="HEAD")
    assert answered.headers["content-length"] == "12"
    assert answered.body == b""


async def test_head_of_a_stream_does_not_run_it_and_closes_it(app, stage, heard):
    answered = await ask(app, "/endless/", method="HEAD")
    assert (answered.status, answered.body, answered.complete) == (200, b"", True)
    assert stage.threads == []
    assert len(heard.finished) == 1


async def test_a_small_file_is_one_message(app, stage):
    answered = await ask(app, "/file/")
    assert answered.parts == [stage.file.read_bytes()]
    assert answered.headers["content-length"] == str(stage.file.stat().st_size)
    assert answered.headers["content-disposition"] == 'inline; filename="serving_views.py"'


async def test_a_large_file_is_sent_in_chunks_and_closed(app, stage, heard):
    answered = await ask(app, "/large-file/")
    assert answered.body == bytes(1_000_000)
    assert [len(part) for part in answered.parts] == [65536] * 15 + [16960, 0]
    assert stage.closed == ["file"]
    assert (len(heard.started), len(heard.finished)) == (1, 1)


async def test_a_slow_reader_of_a_file_holds_no_thread(one_thread):
    hold = asyncio.Event()

    async def stalled(message: Message) -> None:
        if message["type"] == "http.response.body":
            await hold.wait()

    reading = asyncio.create_task(one_thread(scope("/large-file/"), complete_body(), stalled))
    await asyncio.sleep(0)
    assert (await ask(one_thread)).body == b"Hello World!"
    hold.set()
    await asyncio.wait_for(reading, 5)


async def test_a_synchronous_stream_is_sent_as_it_is_made(app, heard):
    answered = await ask(app, "/sync-stream/")
    assert answered.parts == [b"one", b"two", b"three", b""]
    assert heard.started == heard.finished


async def test_a_synchronous_stream_runs_in_the_thread_of_its_view(app, stage):
    communicator = begin(app, "/endless/")
    await communicator.send_input({"type": "http.request"})
    for _ in range(50):
        await communicator.receive_output(5)
    await communicator.send_input({"type": "http.disconnect"})
    await communicator.wait(5)
    assert len(set(stage.threads)) == 1
    assert threading.get_ident() not in stage.threads


async def test_a_stream_never_runs_ahead_of_its_reader(app, stage):
    sent = []
    hold = asyncio.Event()

    async def slow(message: Message) -> None:
        sent.append(message)
        if len(sent) == 3:
            await hold.wait()

    receive = disconnect_when(hold)
    streaming = asyncio.create_task(app(scope("/endless/"), receive, slow))
    await until(lambda: len(sent) == 3)
    await asyncio.sleep(0.05)
    assert len(stage.threads) == 2
    hold.set()
    await asyncio.wait_for(streaming, 5)


async def test_a_reader_who_takes_nothing_loses_the_stream(app, stage, monkeypatch):
    monkeypatch.setattr(serving_module, "STALLED_S", 0.05)

    async def stalled(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    await asyncio.wait_for(app(scope("/endless/"), complete_body(), stalled), 5)
    assert stage.closed == ["numbers"]


async def test_an_asynchronous_stream_runs_in_the_event_loop(app, stage, heard):
    answered = await ask(app, "/async-stream/")
    assert answered.parts == [b"0", b"1", b"2", b""]
    assert stage.closed == ["letters"]
    assert (len(heard.started), len(heard.finished)) == (1, 1)
    assert threading.get_ident() not in heard.finished


async def test_streams_that_fail_are_closed_and_not_completed(app, heard):
    communicator = begin(app, "/broken-stream/")
    await communicator.send_input({"type": "http.request"})
    assert (await communicator.receive_output(5))["status"] == 200
    assert (await communicator.receive_output(5))["body"] == b"begun"
    with pytest.raises(ValueError, match="an iterator's mistake"):
        await communicator.wait(5)
    assert communicator.output_queue.empty()
    assert (len(heard.started), len(heard.finished)) == (1, 1)


# Clients that leave


async def test_a_client_that_leaves_within_its_body_is_not_answered(app, stage, heard):
    communicator = begin(app, "/echo/", method="POST")
    await communicator.send_input({"type": "http.request", "body": b"half", "more_body": True})
    await communicator.send_input({"type": "http.disconnect"})
    await communicator.wait(5)
    assert communicator.output_queue.empty()
    assert heard.started == []


async def test_a_client_that_leaves_while_its_view_runs_is_not_answered(app, stage, heard):
    communicator = begin(app, "/waits/")
    await communicator.send_input({"type": "http.request"})
    await until(stage.entered.is_set)
    await communicator.send_input({"type": "http.disconnect"})
    await until(communicator.input_queue.empty)
    stage.proceed.set()
    await communicator.wait(5)
    assert communicator.output_queue.empty()
    assert stage.closed == ["waits"]
    assert heard.started == heard.finished
    assert len(heard.finished) == 1


async def test_a_client_that_leaves_before_its_turn_costs_no_view(one_thread, stage, heard):
    first, second = begin(one_thread, "/waits/"), begin(one_thread, "/untouched/")
    await first.send_input({"type": "http.request"})
    await until(stage.entered.is_set)
    await second.send_input({"type": "http.request"})
    await second.send_input({"type": "http.disconnect"})
    await until(second.input_queue.empty)
    stage.proceed.set()
    await first.wait(5)
    await second.wait(5)
    assert stage.calls == ["waits"]
    assert len(heard.started) == 1


async def test_a_synchronous_stream_ends_when_its_client_leaves(app, stage, heard):
    communicator = begin(app, "/endless/")
    await communicator.send_input({"type": "http.request"})
    await communicator.receive_output(5)
    await communicator.send_input({"type": "http.disconnect"})
    await communicator.wait(5)
    assert stage.closed == ["numbers"]
    assert heard.started == heard.finished


async def test_an_asynchronous_stream_is_cancelled_when_its_client_leaves(app, stage, heard):
    communicator = begin(app, "/async-endless/")
    await communicator.send_input({"type": "http.request"})
    await communicator.receive_output(5)
    assert (await communicator.receive_output(5))["body"] == b"0"
    await communicator.send_input({"type": "http.disconnect"})
    await communicator.wait(5)
    assert stage.closed == ["letters"]
    assert len(heard.finished) == 1


async def test_a_cancelled_request_lasts_until_its_thread_is_done(app, stage, heard):
    running = asyncio.create_task(app(scope("/waits/"), complete_body(), ignore))
    await until(stage.entered.is_set)
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=0.05)
    assert not done
    stage.proceed.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 5)
    assert stage.closed == ["waits"]
    assert len(heard.finished) == 1


# Errors


async def test_an_exception_in_a_view_is_a_500(app, heard):
    assert (await ask(app, "/wrong/")).status == 500
    assert (len(heard.started), len(heard.finished)) == (1, 1)


async def test_an_error_page_that_fails_is_the_servers_500(app, settings, heard):
    settings.ROOT_URLCONF = "tests.stabilizer.missing_urls"
    with pytest.raises(ModuleNotFoundError):
        await app(scope("/wrong/"), complete_body(), ignore)
    assert (len(heard.started), len(heard.finished)) == (1, 1)


async def test_an_exception_that_is_to_propagate_reaches_the_server(app, settings, heard):
    settings.DEBUG_PROPAGATE_EXCEPTIONS = True
    with pytest.raises(ValueError, match="a view's mistake"):
        await app(scope("/wrong/"), complete_body(), ignore)
    assert (len(heard.started), len(heard.finished)) == (1, 1)


async def test_a_view_that_exits_ends_neither_loop_nor_thread(one_thread, heard):
    with pytest.raises(RuntimeError, match="SystemExit"):
        await one_thread(scope("/leave/"), complete_body(), ignore)
    assert (await ask(one_thread)).status == 200
    assert (len(heard.started), len(heard.finished)) == (2, 2)


# Threads and connections


async def test_signals_are_sent_once_and_in_the_thread_of_the_view(app, stage, heard):
    await ask(app)
    assert heard.started == heard.finished == stage.threads
    assert threading.get_ident() not in stage.threads


async def test_two_requests_run_at_once_in_two_threads(app):
    first, second = await asyncio.gather(ask(app, "/together/"), ask(app, "/together/"))
    assert (first.status, second.status) == (200, 200)
    assert first.body != second.body


async def test_no_more_requests_run_at_once_than_there_are_threads(app, stage):
    answers = await asyncio.gather(*(ask(app, "/busy/") for _ in range(40)))
    assert [answered.status for answered in answers] == [200] * 40
    assert stage.most_running == 2


async def test_asynchronous_middleware_and_views_are_adapted(urls, stage, settings, db):
    app = Serving(threads=1)
    answered = await ask(app, "/async-view/")
    app.close()
    assert (answered.status, answered.body) == (200, b"0")


def test_the_pool_serves_one_event_loop_after_another(app):
    assert asyncio.run(ask(app)).status == 200
    assert asyncio.run(ask(app)).status == 200


@pytest.fixture
def own_database(transactional_db) -> None:
    if connection.vendor != "mysql":
        pytest.skip("asks the server which connection it is")


async def test_a_thread_keeps_its_connection_from_request_to_request(own_database, one_thread):
    answers = [(await ask(one_thread, "/database/")).body for _ in range(5)]
    assert len(set(answers)) == 1


async def kill(app: Serving) -> bytes:
    """End the pool's database connection on the server, behind Django's back."""
    number = (await ask(app, "/database/")).body
    await asyncio.to_thread(_kill, int(number))
    return number


def _kill(number: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"KILL {number}")
    connections.close_all()


async def test_reading_again_hides_a_connection_that_died(own_database, one_thread, heard):
    before = await kill(one_thread)
    answered = await ask(one_thread, "/database/")
    assert answered.status == 200
    assert answered.body != before
    assert (len(heard.started), len(heard.finished)) == (2, 2)


async def test_a_write_is_not_repeated_but_the_next_one_succeeds(own_database, one_thread, stage):
    await kill(one_thread)
    statuses = [(await ask(one_thread, "/database/", method="POST")).status for _ in range(2)]
    assert statuses == [500, 200]
    assert len(stage.calls) == 3


async def test_an_idle_thread_gives_its_connection_back(own_database, urls, stage):
    app = Serving(threads=1)
    app._pool._idle_s = 0.02
    before = (await ask(app, "/database/")).body
    await asyncio.sleep(0.1)
    after = (await ask(app, "/database/")).body
    app.close()
    assert before != after


# Helpers


def complete_body() -> Any:
    messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Message:
        for message in messages:
            return dict(message)
        await asyncio.Event().wait()
        raise AssertionError

    return receive


def disconnect_when(event: asyncio.Event) -> Any:
    body = complete_body()
    first = True

    async def receive() -> Message:
        nonlocal first
        if first:
            first = False
            return await body()
        await event.wait()
        return {"type": "http.disconnect"}

    return receive


async def ignore(message: Message) -> None:
    pass


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)
