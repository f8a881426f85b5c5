"""The admin's page that explains a decision, for who may see the trail."""

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from audit import bounded
from audit.models import Event
from audit.trace import NoId
from stabilizer.gate import explanation


@never_cache
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """What `manage.py explain` says of `?decision=`, from the events that this person may see."""
    events = admin.site.get_model_admin(Event)
    if not events.has_view_permission(request):
        raise PermissionDenied
    decision = request.GET.get("decision", "").strip()
    found, fault = None, ""
    if decision:
        try:
            found = explanation.explain(decision, events.get_queryset(request))
            fault = "" if found else explanation.unknown()
        except NoId:
            fault = _("This is no id of a decision: it has 32 hexadecimal digits.")
        except bounded.TooLong as error:
            fault = str(error)
    context = {
        **admin.site.each_context(request),
        "title": _("Explain a decision"),
        "decision": decision,
        "lines": list(found.lines()) if found else (),
        "event": found.flood.first.pk if found and found.flood else None,
        "fault": fault,
    }
    return render(request, "admin/explain.html", context)
