"""Views that show what a handler does with them: the URLconf of test_serving.py."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path

from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import UploadedFile
from django.db import connection
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import path, reverse

from stabilizer.work import waiting


class Stage:
    """What the views did in this test, and what they wait for."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.closed: list[str] = []
        self.threads: list[int] = []
        self.running = 0
        self.most_running = 0
        self.entered = threading.Event()
        self.proceed = threading.Event()
        self.barrier = threading.Barrier(2)
        self.file = Path(__file__)
        self.lock = threading.Lock()


stage = Stage()


def hello(request: HttpRequest) -> HttpResponse:
    stage.calls.append("hello")
    stage.threads.append(threading.get_ident())
    return HttpResponse(f"Hello {request.GET.get('name', 'World')}!")


def meta(request: HttpRequest) -> JsonResponse:
    names = ("HTTP_REFERER", "HTTP_X_UNDER_SCORE", "REMOTE_ADDR", "SERVER_NAME", "CONTENT_TYPE")
    return JsonResponse(
        {
            **{name: request.META.get(name) for name in names},
            "path": request.path,
            "path_info": request.path_info,
            "reverse": reverse("meta"),
            "scheme": request.scheme,
            "pressure": request.pressure,  # type: ignore[attr-defined]
        }
    )


def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body)


def length(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.META.get('CONTENT_LENGTH')} {len(request.read())}")


def untouched(request: HttpRequest) -> HttpResponse:
    stage.calls.append("untouched")
    return HttpResponse(status=204)


def upload(request: HttpRequest) -> JsonResponse:
    sent = request.FILES["file"]
    assert isinstance(sent, UploadedFile)
    stage.uploaded = sent  # type: ignore[attr-defined]
    return JsonResponse({"name": sent.name, "size": sent.size, "note": request.POST["note"]})


def cookies(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(",".join(sorted(request.COOKIES)))
    response.set_cookie("first", "1")
    response.set_cookie("second", "2", httponly=True)
    return response


def wrong(request: HttpRequest) -> HttpResponse:
    raise ValueError("a view's mistake")


def leave(request: HttpRequest) -> HttpResponse:
    raise SystemExit(3)


def together(request: HttpRequest) -> HttpResponse:
    stage.barrier.wait(5)
    return HttpResponse(str(threading.get_ident()))


def busy(request: HttpRequest) -> HttpResponse:
    with stage.lock:
        stage.running += 1
        stage.most_running = max(stage.most_running, stage.running)
    with waiting:
        time.sleep(0.01)
    with stage.lock:
        stage.running -= 1
    return HttpResponse()


def waits(request: HttpRequest) -> HttpResponse:
    stage.calls.append("waits")
    stage.entered.set()
    stage.proceed.wait(5)
    response = HttpResponse("done")
    response._resource_closers.append(lambda: stage.closed.append("waits"))  # type: ignore[attr-defined]
    return response


class Watched(BytesIO):
    def close(self) -> None:
        if not self.closed:
            stage.closed.append("file")
        super().close()


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(stage.file.open("rb"), filename="serving_views.py")


def large_file(request: HttpRequest) -> FileResponse:
    return FileResponse(Watched(bytes(1_000_000)), content_type="application/octet-stream")


def numbers() -> Iterator[bytes]:
    try:
        for number in range(int(1e9)):
            stage.threads.append(threading.get_ident())
            yield b"%d\n" % number
    finally:
        stage.closed.append("numbers")


def sync_stream(request: HttpRequest) -> StreamingHttpResponse:
    stage.threads.append(threading.get_ident())
    return StreamingHttpResponse(iter([b"one", "two", b"three"]))


def endless(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(numbers())


def broken_stream(request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[bytes]:
        yield b"begun"
        raise ValueError("an iterator's mistake")

    return StreamingHttpResponse(parts())


async def letters(count: int) -> AsyncIterator[bytes]:
    try:
        for number in range(count):
            yield b"%d" % number
            await asyncio.sleep(0)
        if count == 1:
            await asyncio.sleep(60)
    finally:
        stage.closed.append("letters")


def async_stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(letters(3))


def async_endless(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(letters(1))


async def async_view(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    return HttpResponse(str(await get_user_model().objects.acount()))


def database(request: HttpRequest) -> HttpResponseBase:
    stage.calls.append("database")
    stage.threads.append(threading.get_ident())
    with connection.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        return HttpResponse(str(cursor.fetchone()[0]))


urlpatterns = [
    path("", hello),
    path("meta/", meta, name="meta"),
    path("echo/", echo),
    path("length/", length),
    path("untouched/", untouched),
    path("upload/", upload),
    path("cookies/", cookies),
    path("wrong/", wrong),
    path("leave/", leave),
    path("together/", together),
    path("busy/", busy),
    path("waits/", waits),
    path("file/", file),
    path("large-file/", large_file),
    path("sync-stream/", sync_stream),
    path("endless/", endless),
    path("broken-stream/", broken_stream),
    path("async-stream/", async_stream),
    path("async-endless/", async_endless),
    path("async-view/", async_view),
    path("database/", database),
    path("grüße/", hello),
]
