"""Each web process has a CPU of its own, where there are enough of them and somebody wants that."""

import os
import subprocess

import psutil
import pytest

from stabilizer import affinity, listener
from tests.stabilizer import processes
from tests.stabilizer.processes import wait_for_server


@pytest.fixture
def host(monkeypatch):
    """A host on which this process may run on CPUs 2, 3 and 7; where it is put."""
    put: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {7, 2, 3})
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cpus: put.append(cpus))
    return put


def test_each_process_has_another_of_the_cpus_it_may_run_on(host):
    assert [affinity.stay(number, 3) for number in range(3)] == [2, 3, 7]
    assert host == [{2}, {3}, {7}]


def test_more_processes_than_cpus_share_all_of_them(host):
    assert affinity.stay(0, 4) is None
    assert host == []


def test_a_system_without_such_a_call_is_left_alone(host, monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity")

    assert affinity.stay(0, 1) is None


@pytest.mark.processes
@pytest.mark.parametrize("pinned", [True, False])
def test_web_processes_stay_where_they_are_only_if_the_settings_say_so(transactional_db, pinned):
    allowed = os.sched_getaffinity(0)
    count = min(2, len(allowed))
    listeners = listener.listen("127.0.0.1", 0, 128, count=count)
    fds = [each.fileno() for each in listeners]
    started: list[subprocess.Popen[str]] = [
        processes.start(
            *listener.share(listeners, number), fds=fds, PIN_PROCESSES=str(pinned).lower()
        )
        for number in range(count)
    ]
    with processes.ended(*started):
        for process in started:
            said = iter(process.stderr.readline, "")
            assert any(listener.TAKES_CONNECTIONS in line for line in said)
        wait_for_server(listeners[0].getsockname()[1])
        found = [
            os.sched_getaffinity(thread.id)
            for process in started
            for thread in psutil.Process(process.pid).threads()
        ]
    for each in listeners:
        each.close()

    if pinned:
        assert {frozenset(each) for each in found} == {
            frozenset({cpu}) for cpu in sorted(allowed)[:count]
        }
    else:
        assert all(each == allowed for each in found)
