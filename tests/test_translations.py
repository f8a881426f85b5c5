"""The pages' Spanish: whole, compiled, and of the sentences that the pages really say."""

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

ROOT = Path(settings.LOCALE_PATHS[0]).parent
CATALOGUE = ROOT / "locale" / "es" / "LC_MESSAGES"
APPS = ("accounts", "audit", "pairing", "ratelimit", "realtime", "stabilizer")
TAG = re.compile(r"""{% *trans(?:late)? +(?:"([^"]+)"|'([^']+)')""")


def compiled() -> dict[str, str]:
    with (CATALOGUE / "django.mo").open("rb") as file:
        catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    plain = {key: text for key, text in catalogue.items() if key and isinstance(key, str)}
    counted = {key[0]: text for key, text in catalogue.items() if key[1:] == (0,)}
    return plain | counted


def source() -> dict[str, str]:
    """Each message of the .po file with its translation, the first of them where there are two."""
    text = (CATALOGUE / "django.po").read_text(encoding="utf-8")
    found = re.findall(r'^msgid "(.+)"\n(?:msgid_plural .*\n)?msgstr(?:\[0\])? "(.*)"$', text, re.M)
    return dict(found)


def said() -> Iterator[str]:
    """What templates and modules mark to be translated."""
    for app in APPS:
        for path in (ROOT / app).rglob("*.html"):
            for pair in TAG.findall(path.read_text(encoding="utf-8")):
                yield "".join(pair)
        for path in (ROOT / app).rglob("*.py"):
            yield from marked(ast.parse(path.read_text(encoding="utf-8")))


def marked(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        first = node.args[0] if node.args else None
        if node.func.id in ("_", "ngettext") and isinstance(first, ast.Constant):
            yield str(first.value)


def test_every_sentence_of_the_pages_has_its_spanish():
    assert set(said()) - source().keys() == set()
    assert [message for message, text in source().items() if not text] == []


def test_the_compiled_catalogue_is_that_of_the_source():
    assert compiled() == {key: text.replace('\\"', '"') for key, text in source().items()}
