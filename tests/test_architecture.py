"""The house of docs/architecture: what import-linter and the linters cannot see for themselves."""

import ast
import tomllib
from pathlib import Path

from django.conf import settings

ROOT = Path(__file__).resolve().parent.parent
#: Names that say nothing: what is in them belongs to a module named for its noun.
NAMELESS = {
    "utils",
    "util",
    "helpers",
    "services",
    "managers",
    "constants",
    "exceptions",
    "common",
    "base",
}
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]
FIRST_PARTY = [name for name in settings.INSTALLED_APPS if (ROOT / name).is_dir()]


def test_the_import_contract_lists_every_app_of_ours() -> None:
    assert CONTRACTS["root_packages"] == FIRST_PARTY


def test_the_layers_are_the_apps_in_the_order_of_the_house() -> None:
    layers = CONTRACTS["contracts"][0]["layers"]

    assert layers == ["stabilizer", "realtime", "pairing", "accounts", "ratelimit", "audit"]
    assert layers == FIRST_PARTY


def test_no_module_has_a_name_that_says_nothing() -> None:
    files = {file for app in (*FIRST_PARTY, "dev", "tests") for file in (ROOT / app).rglob("*.py")}
    # Django looks for a database engine under this name.
    files.remove(ROOT / "stabilizer" / "mariadb" / "base.py")

    assert [file for file in files if {file.stem, file.parent.name} & NAMELESS] == []


def test_no_app_imports_the_gate() -> None:
    apps = [app for app in FIRST_PARTY if app != "stabilizer"]
    guilty = [
        file for app in apps for file in (ROOT / app).rglob("*.py") if _imports_stabilizer(file)
    ]

    assert guilty == []


def _imports_stabilizer(file: Path) -> bool:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = [
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in _imported(node)
    ]
    return any(name.split(".")[0] == "stabilizer" for name in names)


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names]
