"""A real web process whose dashboard somebody looks at while it ends."""

import http.client
import time

import pytest
from django.test import Client

from accounts.models import User
from dev import ports
from tests.stabilizer import processes

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
#: Far less than the grace that answers under way are given.
SOON_S = 5


def test_a_process_that_ends_does_not_wait_for_who_looks_on(redis_client):
    client = Client()
    client.force_login(User.objects.create_user("olga", password="x", is_staff=True))
    cookie = f"sessionid={client.cookies['sessionid'].value}"
    port = ports.free()
    process = processes.start("--port", str(port))
    with processes.ended(process):
        processes.wait_for_server(port)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/ops/stream/", headers={"Cookie": cookie})
        stream = connection.getresponse()
        assert stream.status == 200
        while not stream.readline().startswith(b"event: now"):
            pass
        began = time.monotonic()
        process.terminate()
        stream.read()
        assert process.wait(timeout=20) == 0
        assert time.monotonic() - began < SOON_S
        connection.close()
