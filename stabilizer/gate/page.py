"""A refusal as a page, for whoever sits before a browser.

It is one filled-in text: no template engine, no catalogue to load, no query, because it is wanted
most when there is time for none of them. It reads well even if its stylesheet is refused too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from string import Template
from types import MappingProxyType

from django.conf import settings
from django.templatetags.static import static
from django.utils.translation.trans_real import parse_accept_lang_header

from ratelimit.problem import Problem
from stabilizer.gate.headers import Headers

CONTENT_TYPE = b"text/html; charset=utf-8"
#: What Django's own middleware would add.
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
)


@dataclass(frozen=True, slots=True)
class Words:
    """The page in one language; `$wait` stands for the time until return."""

    #: Heading and sentence of each status.
    refusals: Mapping[int, tuple[str, str]]
    by_itself: str
    again: str
    back: str
    reference: str
    #: Hours, minutes, seconds, each as one and as several.
    units: tuple[tuple[str, str], ...]


ENGLISH = Words(
    {
        408: ("That took too long", "What you sent did not arrive in time. Please send it again."),
        413: ("That was too much", "What you sent is larger than we accept here."),
        429: (
            "A short break",
            "There were many tries in a short time. Please try again in $wait.",
        ),
        503: (
            "Back in a moment",
            "We cannot take your request at the moment. Please try again in $wait.",
        ),
    },
    by_itself="This page then tries again by itself.",
    again="Try again now",
    back="Back to the form",
    reference="Reference",
    units=(("hour", "hours"), ("minute", "minutes"), ("second", "seconds")),
)
SPANISH = Words(
    {
        408: ("Ha tardado demasiado", "Lo que envió no llegó a tiempo. Envíelo de nuevo."),
        413: ("Es demasiado", "Lo que envió es más grande de lo que aceptamos aquí."),
        429: (
            "Una breve pausa",
            "Ha habido muchos intentos en poco tiempo. Inténtelo de nuevo en $wait.",
        ),
        503: (
            "Volvemos enseguida",
            "No podemos atender su solicitud en este momento. Inténtelo de nuevo en $wait.",
        ),
    },
    by_itself="Después, esta página lo intentará de nuevo por sí sola.",
    again="Intentar ahora",
    back="Volver al formulario",
    reference="Referencia",
    units=(("hora", "horas"), ("minuto", "minutos"), ("segundo", "segundos")),
)
LANGUAGES: Mapping[str, Words] = MappingProxyType({"en": ENGLISH, "es": SPANISH})
STATUSES = frozenset(ENGLISH.refusals)
#: Seconds of each unit.
SIZES = (3600, 60, 1)

# The empty icon and the empty link: one request less, and the page's own address with GET.
PAGE = Template("""<!doctype html>
<html lang="$language">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="robots" content="noindex">$refresh
  <title>$heading · Stabilizer</title>
  <link rel="icon" href="data:,">
  <style>
    body { margin: 2rem; font: 1rem/1.55 system-ui, sans-serif; }
    .id { font-size: 0.8rem; }
  </style>
  <link rel="stylesheet" href="$stylesheet">
</head>
<body>
  <header class="masthead">
    <a class="brand" href="/">
      <svg width="26" height="26" viewBox="0 0 24 24" fill="none" stroke="currentColor" \
stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">\
<rect x="2.5" y="4" width="19" height="13" rx="2.2"/>\
<path d="M8 20.5h8M7.5 10.7l3 2.8 6-5.6"/></svg>
      Stabilizer
    </a>
  </header>
  <main id="main">
    <section class="panel outcome stack">
      <h1>$heading</h1>
      <p>$sentence</p>
      <p><a class="button plain" href="">$link</a></p>
      <p class="quiet small">$reference: <span class="code">$code</span><br>
        <span class="code break id">$decision</span></p>
    </section>
  </main>
</body>
</html>
""")


def render(
    problem: Problem, headers: Headers, decision: str, *, wait_s: int | None, is_get: bool
) -> bytes:
    """The page of a `problem` whose status is one of `STATUSES`, in the language of `headers`.

    A page that was asked for with GET comes back by itself after `wait_s`. What was sent with POST
    is never sent again: its link leads to the form.
    """
    language = _language(headers)
    words = LANGUAGES[language]
    heading, sentence = words.refusals[problem.status]
    returns = is_get and wait_s is not None
    if wait_s is not None:
        sentence = sentence.replace("$wait", _duration(wait_s, words))
    filled = {
        "language": language,
        "heading": heading,
        "sentence": f"{sentence} {words.by_itself}" if returns else sentence,
        "stylesheet": _stylesheet(),
        "link": words.again if is_get else words.back,
        "reference": words.reference,
        "code": problem.code,
        "decision": decision,
    }
    refresh = f'\n  <meta http-equiv="refresh" content="{wait_s}">' if returns else ""
    escaped = {name: escape(text) for name, text in filled.items()}
    return PAGE.substitute(escaped, refresh=refresh).encode()


def _language(headers: Headers) -> str:
    """What the person has chosen on another page, else what the browser asks for."""
    chosen = headers.cookie(settings.LANGUAGE_COOKIE_NAME)
    if chosen in LANGUAGES:
        return chosen
    for wanted, _quality in parse_accept_lang_header(headers[b"accept-language"]):
        if (language := wanted.partition("-")[0]) in LANGUAGES:
            return language
    return "en"


def _duration(seconds: int, words: Words) -> str:
    """Rounded up, in the unit that people would say it in."""
    size, (one, several) = next(
        (size, unit)
        for size, unit in zip(SIZES, words.units, strict=True)
        if size == 1 or seconds > size * 3 // 2
    )
    number = -(-seconds // size)
    return f"{number} {one if number == 1 else several}"


@cache
def _stylesheet() -> str:
    return static("stabilizer/pages.css")
