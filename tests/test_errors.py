"""docs/errors.md lists what the service answers, no more and no less."""

import re
from pathlib import Path

import realtime.problems  # noqa: F401
import stabilizer.asgi
import stabilizer.urls  # noqa: F401  (with the gate, all that registers codes)
from ratelimit.problem import CODES

PAGE = Path(__file__).parent.parent / "docs" / "errors.md"
ROW = re.compile(r"^\| (\d{3}) \| `(\w+)` \|", re.MULTILINE)


def test_every_code_is_documented_with_its_status():
    documented = ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert sorted(documented) == sorted((str(each.status), each.code) for each in CODES.values())
