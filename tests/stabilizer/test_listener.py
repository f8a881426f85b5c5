"""A port is bound once and handed on, and a taken one says by whom."""

import contextlib
import os
import socket
import subprocess
import sys

import pytest

from stabilizer import listener


def test_the_socket_listens_and_is_inherited_by_children():
    with listener.listen("127.0.0.1", 0, 5)[0] as shared:
        port = shared.getsockname()[1]
        code = f"import socket; print(socket.socket(fileno={shared.fileno()}).getsockname()[1])"
        command = [sys.executable, "-c", code]
        printed = subprocess.run(
            command, pass_fds=[shared.fileno()], capture_output=True, text=True, check=True
        )
        assert printed.stdout.strip() == str(port)
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


def test_a_taken_port_names_its_holder():
    with listener.listen("127.0.0.1", 0, 5)[0] as shared:
        port = shared.getsockname()[1]
        with pytest.raises(listener.PortTaken) as taken:
            listener.listen("127.0.0.1", port, 5)
    assert f"127.0.0.1:{port} is taken by pid {os.getpid()} (" in str(taken.value)


def test_listeners_of_one_port_are_dealt_connections_evenly():
    listeners = listener.listen("127.0.0.1", 0, 500, count=2)
    port = listeners[0].getsockname()[1]
    with contextlib.ExitStack() as stack:
        for each in listeners:
            stack.enter_context(each).setblocking(False)
        for _ in range(400):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        taken = [waiting(each) for each in listeners]
    assert sum(taken) == 400
    assert min(taken) > 120


def waiting(listening):
    """How many connections wait on a listener; takes and closes them."""
    count = 0
    while True:
        try:
            listening.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_each_process_is_told_its_own_socket_and_the_others():
    listeners = listener.listen("127.0.0.1", 0, 5, count=2)
    first, second = (str(each.fileno()) for each in listeners)
    assert listener.share(listeners, 0) == ["--fd", first, "--spare", second]
    assert listener.share(listeners, 1) == ["--fd", second, "--spare", first]
    for each in listeners:
        each.close()


def test_a_free_port_has_no_holder():
    with socket.socket() as bound_only:
        bound_only.bind(("127.0.0.1", 0))
        assert listener.holder(bound_only.getsockname()[1]) == ""


def test_other_errors_than_a_taken_port_stay_what_they_are():
    with pytest.raises(OSError, match="assign") as error:
        listener.listen("192.0.2.1", 0, 5)
    assert not isinstance(error.value, listener.PortTaken)
