"""What a process starts and ends when its server says so."""

from asgiref.testing import ApplicationCommunicator

from stabilizer.lifespan import Lifespan


def spoken_to(app: Lifespan) -> ApplicationCommunicator:
    return ApplicationCommunicator(app, {"type": "lifespan"})


async def test_steps_run_in_order_at_start_and_at_the_end():
    ran = []

    async def connect() -> None:
        ran.append("connect")

    app = Lifespan(
        None, start=[lambda: ran.append("load"), connect], stop=[lambda: ran.append("close")]
    )
    server = spoken_to(app)
    await server.send_input({"type": "lifespan.startup"})
    assert await server.receive_output() == {"type": "lifespan.startup.complete"}
    assert ran == ["load", "connect"]
    await server.send_input({"type": "lifespan.shutdown"})
    assert await server.receive_output() == {"type": "lifespan.shutdown.complete"}
    assert ran == ["load", "connect", "close"]


async def test_a_step_that_fails_at_start_keeps_the_process_from_serving():
    def fail() -> None:
        raise OSError("no spool")

    server = spoken_to(Lifespan(None, start=[fail]))
    await server.send_input({"type": "lifespan.startup"})
    failed = {"type": "lifespan.startup.failed", "message": "no spool"}
    assert await server.receive_output() == failed


async def test_a_step_that_fails_at_the_end_does_not_keep_the_others_from_running():
    ran = []

    def fail() -> None:
        raise OSError("gone already")

    server = spoken_to(Lifespan(None, stop=[fail, lambda: ran.append("close")]))
    await server.send_input({"type": "lifespan.startup"})
    await server.receive_output()
    await server.send_input({"type": "lifespan.shutdown"})
    assert await server.receive_output() == {"type": "lifespan.shutdown.complete"}
    assert ran == ["close"]


async def test_everything_else_is_passed_on():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    await Lifespan(app)({"type": "http"}, None, None)  # type: ignore[arg-type]
    assert seen == ["http"]
