"""The pages on which a person gives a screen access, or refuses it (RFC 8628, section 3.3).

Finding a code leads to a page of its own, whose address carries a ticket: which pairing, shown to
whom. A code is thus tried once, when it is typed, and two open windows do not mix their screens up.
"""

from typing import Any, NamedTuple, cast
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

import audit
from accounts import principal
from accounts.models import Scope, User
from accounts.principal import Principal
from audit import clock
from pairing import approval, outcomes, user_code
from pairing.lifetimes import RENEWABLE_S
from pairing.models import Pairing, State
from pairing.outcomes import Outcome
from pairing.refusal import Refusal

_SALT = "pairing.activate"


class Asker(NamedTuple):
    """Who is at the page, and whether for any subscriber of the tenant or only for their own."""

    principal: Principal
    is_operator: bool


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """What this service is, and the doors into it."""
    return render(request, "pairing/index.html")


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def enter_code(request: HttpRequest) -> HttpResponse:
    """Ask for the code. A code in the address only fills the field in: a person must confirm it."""
    asker = _asker(request)
    if asker is None:
        return _outcome(request, outcomes.NOT_LINKED)
    if request.method != "POST":
        given = request.GET.get("user_code", "")
        return _code_form(request, given, prefilled=bool(given))
    typed = request.POST.get("user_code", "")
    found = approval.look_up(asker.principal, typed)
    if isinstance(found, Refusal):
        return _code_form(request, typed, problem=outcomes.of(found))
    return redirect("consent", ticket=_ticket(found, request))


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def consent(request: HttpRequest, ticket: str) -> HttpResponse:
    """Show what asks for access, take the answer, and afterwards tell how it ended."""
    asker = _asker(request)
    if asker is None:
        return _outcome(request, outcomes.NOT_LINKED)
    pairing = _of_ticket(ticket, request, asker)
    if pairing.standing(clock.now()) is not State.PENDING:
        return _outcome(request, outcomes.of_pairing(pairing, str(asker.principal)))
    if request.method != "POST":
        return _consent_form(request, pairing, asker)
    problem = _answer(request, pairing, asker)
    if problem:
        return _consent_form(request, pairing, asker, problem)
    return redirect("consent", ticket=ticket)


def _answer(request: HttpRequest, pairing: Pairing, asker: Asker) -> Outcome | None:
    """Do what the person chose; what stood in the way, if something did."""
    code, sn = (request.POST.get(name, "").strip() for name in ("subscriber_code", "sn"))
    done: approval.Approved | approval.Denied | Refusal
    try:
        if request.POST.get("answer") == "deny":
            done = approval.deny(asker.principal, user_code=pairing.user_code)
        elif request.POST.get("answer") != "approve":
            return outcomes.NOTHING_CHOSEN
        elif asker.is_operator and not code:
            return outcomes.SUBSCRIBER_MISSING
        else:
            done = approval.approve(
                asker.principal,
                user_code=pairing.user_code,
                subscriber_code=code if asker.is_operator else None,
                sn=sn or None if asker.is_operator else None,
            )
    except audit.AuditUnavailable:
        return outcomes.TRY_AGAIN
    return outcomes.of(done) if isinstance(done, Refusal) else None


def _asker(request: HttpRequest) -> Asker | None:
    """The person as the domain knows them; None for one who has nothing to give away here."""
    found = principal.of_person(cast(User, request.user))
    if found is None:
        return None
    is_operator = Scope.PAIRING_APPROVE in found.scopes
    return Asker(found, is_operator) if is_operator or found.subscriber_code else None


def _ticket(pairing: Pairing, request: HttpRequest) -> str:
    return signing.dumps([pairing.pk.hex, request.user.pk], salt=_SALT)


def _of_ticket(ticket: str, request: HttpRequest, asker: Asker) -> Pairing:
    try:
        pk, person = signing.loads(ticket, salt=_SALT, max_age=RENEWABLE_S)
    except signing.BadSignature as error:
        raise Http404 from error
    if person != request.user.pk:
        raise Http404
    return get_object_or_404(
        Pairing.objects.select_related("subscriber"),
        pk=UUID(pk),
        tenant_id=asker.principal.tenant_id,
    )


def _code_form(
    request: HttpRequest, text: str, *, prefilled: bool = False, problem: Outcome | None = None
) -> HttpResponse:
    code = user_code.normalise(text)
    context = {
        "user_code": user_code.display(code) if code else text[:32],
        "prefilled": prefilled,
        "problem": problem,
    }
    return _page(request, "pairing/enter_code.html", context, problem)


def _consent_form(
    request: HttpRequest, pairing: Pairing, asker: Asker, problem: Outcome | None = None
) -> HttpResponse:
    context = {
        "pairing": pairing,
        "code": user_code.display(pairing.user_code),
        "screen": pairing.model or pairing.app_type,
        "age": _age(pairing),
        "place": _place(pairing, request),
        "own_code": None if asker.is_operator else asker.principal.subscriber_code,
        "subscriber_code": request.POST.get("subscriber_code", ""),
        "sn": request.POST.get("sn", ""),
        "problem": problem,
    }
    return _page(request, "pairing/consent.html", context, problem)


def _outcome(request: HttpRequest, outcome: Outcome) -> HttpResponse:
    return _page(request, "pairing/outcome.html", {"outcome": outcome}, outcome)


def _page(
    request: HttpRequest, template: str, context: dict[str, Any], outcome: Outcome | None
) -> HttpResponse:
    page = render(request, template, context, status=outcome.status if outcome else 200)
    if outcome and outcome.retry_after_s:
        page["Retry-After"] = str(outcome.retry_after_s)
    return page


def _age(pairing: Pairing) -> str:
    minutes = int((clock.now() - pairing.created_at).total_seconds() // 60)
    if minutes < 1:
        return _("less than a minute ago")
    return ngettext("%(minutes)d minute ago", "%(minutes)d minutes ago", minutes) % {
        "minutes": minutes
    }


def _place(pairing: Pairing, request: HttpRequest) -> str:
    """What an address can honestly say of a place: whether it is the one the person is at."""
    if not pairing.address:
        return _("We do not know where the request came from.")
    if pairing.address == request.META.get("REMOTE_ADDR"):
        return _("The same network address as yours: the screen is probably near you.")
    return _(
        "Not the network address you use now. That is usual when you are on mobile data; "
        "if you are in the same Wi-Fi as your screen, be careful."
    )
