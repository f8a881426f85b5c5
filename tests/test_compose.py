"""docker-compose.yml and Dockerfile say the same as the rest of the repository.

No container engine runs here: these tests read the files.
"""

import json
import re
from typing import Any

import pytest
import yaml

from dev import commands
from stabilizer.env import ROOT, SECRET_CHARACTERS, Env
from stabilizer.server import DRAIN_S, GRACE_S, LAST_RESORT_S, _parser

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
OURS = ("web", "realtime", "worker", "shipper", "beat", "migrate")
SETTINGS = {name.upper() for name in Env.model_fields}


def test_the_stack_is_complete() -> None:
    assert set(SERVICES) == {*OURS, "mariadb", "redis"}


@pytest.mark.parametrize(
    ("service", "words"),
    [
        ("web", commands.WEB),
        ("realtime", commands.REALTIME),
        ("worker", commands.WORKER),
        ("shipper", commands.SHIPPER),
        ("beat", commands.BEAT),
    ],
)
def test_it_runs_what_make_up_runs(service: str, words: tuple[str, ...]) -> None:
    command = SERVICES[service]["command"]

    assert command[: 2 + len(words)] == ["python", "-m", *words]


@pytest.mark.parametrize(("role", "port"), [("web", 9000), ("realtime", 9001)])
def test_the_server_understands_its_commands(role: str, port: int) -> None:
    options = _parser().parse_args(SERVICES[role]["command"][3:])

    assert (options.role, options.host, options.port) == (role, "0.0.0.0", port)  # noqa: S104
    assert options.workers == 2


def test_the_image_alone_runs_the_web_command_too() -> None:
    command = re.search(r"^CMD (\[.*\])$", DOCKERFILE, flags=re.MULTILINE)

    assert command
    assert json.loads(command[1]) == SERVICES["web"]["command"]


@pytest.mark.parametrize("service", OURS)
def test_our_processes_get_settings_that_exist(service: str) -> None:
    assert set(SERVICES[service]["environment"]) <= SETTINGS
    assert SERVICES[service]["env_file"] == ".env"


def test_nobody_starts_before_what_it_needs() -> None:
    for service in ("web", "realtime", "worker", "shipper", "beat"):
        needs = SERVICES[service]["depends_on"]
        assert needs["migrate"]["condition"] == "service_completed_successfully"
    for service in OURS:
        needs = SERVICES[service]["depends_on"]
        assert needs["mariadb"]["condition"] == "service_healthy"
        assert needs["redis"]["condition"] == "service_healthy"


@pytest.mark.parametrize("service", ["web", "realtime", "mariadb", "redis"])
def test_what_others_wait_for_has_a_health_check(service: str) -> None:
    assert SERVICES[service]["healthcheck"]["test"]


def test_migrations_run_once() -> None:
    assert SERVICES["migrate"]["restart"] == "no"


def test_all_our_processes_share_the_spool() -> None:
    for service in OURS:
        directory = SERVICES[service]["environment"]["RUN_DIR"]
        assert f"spool:{directory}" in SERVICES[service]["volumes"]


def test_mariadb_and_redis_are_started_as_the_system_checks_want_them() -> None:
    assert "--character-set-server=utf8mb4" in SERVICES["mariadb"]["command"]
    assert "--transaction-isolation=READ-COMMITTED" in SERVICES["mariadb"]["command"]
    redis = SERVICES["redis"]["command"]
    assert redis[redis.index("--maxmemory-policy") + 1] == "noeviction"


def test_no_secret_is_in_the_file() -> None:
    for service in SERVICES.values():
        for name, value in service["environment"].items() if "environment" in service else ():
            if "PASSWORD" in name or "SECRET" in name or "PEPPER" in name:
                assert str(value).startswith("${") or value == "1", name
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert not re.search(rf"[A-Za-z0-9+/_-]{{{SECRET_CHARACTERS},}}", text)


@pytest.mark.parametrize("service", ["web", "realtime"])
def test_no_port_is_open_to_the_network(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service]["ports"])


def test_the_gateway_has_time_to_send_its_devices_away() -> None:
    longest_s = DRAIN_S + GRACE_S + LAST_RESORT_S

    assert int(SERVICES["realtime"]["stop_grace_period"].rstrip("s")) > longest_s


def test_the_image_holds_every_app_and_no_more_than_it_needs() -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE, flags=re.MULTILINE))

    apps = {"accounts", "audit", "pairing", "ratelimit", "realtime", "stabilizer"}
    assert copied == apps | {"locale"}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    assert all(f"!{name}\n" in ignored for name in copied)
