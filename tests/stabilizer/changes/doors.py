"""Every door through which something can be changed: found in the project as it runs, not listed.

A door is a text: ``POST /api/v1/pairings/``, ``POST /admin/accounts/client/ delete_selected``,
``manage.py demo``, ``task pairing.tasks.sweep``.
"""

from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from django.apps import apps
from django.contrib import admin
from django.core.management import get_commands, load_command_class
from django.test import RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.models import User
from stabilizer.celery import app as celery
from stabilizer.env import ROOT

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")


class Route(NamedTuple):
    """A path as the resolver writes it, and the view behind it."""

    path: str
    view: Any

    @property
    def unsafe(self) -> tuple[str, ...]:
        """The methods by which it may change something.

        A class says which it has. What a function does with a method nobody can see; forms come by
        POST, and the walk tries the others.
        """
        kind = getattr(self.view, "view_class", None) or getattr(self.view, "cls", None)
        if kind is None:
            return ("POST",)
        return tuple(
            method
            for method in UNSAFE
            if method.lower() in kind.http_method_names and hasattr(kind, method.lower())
        )


def routes() -> dict[str, Route]:
    """All routes by their path. Of two with one path the first answers."""
    found: dict[str, Route] = {}
    for route in _routes(get_resolver(), "/"):
        found.setdefault(route.path, route)
    return found


def path_of(pattern: str) -> str:
    """The path of a `ResolverMatch.route`."""
    return "/" + pattern.removeprefix("^")


def _routes(resolver: URLResolver, before: str) -> Iterator[Route]:
    for each in resolver.url_patterns:
        path = before + str(each.pattern).removeprefix("^")
        if isinstance(each, URLPattern):
            yield Route(path, each.callback)
        else:
            yield from _routes(each, path)


def of_urls() -> set[str]:
    return {f"{method} {route.path}" for route in routes().values() for method in route.unsafe}


def of_the_admin() -> set[str]:
    """What a list's or a row's page of the admin can do beyond its own path."""
    request = RequestFactory().get("/admin/")
    request.user = User(is_superuser=True)
    found = set()
    for model, page in admin.site._registry.items():
        path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        found |= {f"POST {path} {action}" for action in page.get_actions(request)}
        if getattr(page, "list_editable", ()):
            found.add(f"POST {path} _save")
        for inline in page.get_inline_instances(request):
            name = inline.model._meta.model_name
            found.add(f"POST {path}<path:object_id>/change/ {name}")
    return found


def of_commands() -> set[str]:
    """Our own commands, and each subcommand of those that have some."""
    ours = {app.name for app in apps.get_app_configs() if Path(app.path).parent == ROOT}
    found: set[str] = set()
    for name, of_app in get_commands().items():
        if of_app in ours:
            parser = load_command_class(of_app, name).create_parser("manage.py", name)
            found |= set(_subcommands(parser, f"manage.py {name}"))
    return found


def _subcommands(parser: ArgumentParser, words: str) -> Iterator[str]:
    choices = [each for each in parser._actions if isinstance(each, _SubParsersAction)]
    if not choices:
        yield words
    for each in choices:
        for name, subparser in each.choices.items():
            yield from _subcommands(subparser, f"{words} {name}")


def of_tasks() -> set[str]:
    celery.loader.import_default_modules()
    return {f"task {name}" for name in celery.tasks if not name.startswith("celery.")}


def all_doors() -> set[str]:
    return of_urls() | of_the_admin() | of_commands() | of_tasks()
