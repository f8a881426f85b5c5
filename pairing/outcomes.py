"""How an activation ends, in words for people."""

import math
from dataclasses import dataclass, replace

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from audit import clock
from pairing.models import ACTIVE, Pairing, State
from pairing.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Outcome:
    """A page's or a notice's words. `mark` draws it, `field` is the form field at fault."""

    title: str | Promise
    text: str | Promise
    status: int = 200
    mark: str = "care"
    field: str = ""
    retry_after_s: int = 0


DENIED = Outcome(
    _("Denied"),
    _("This screen gets no access. If it was yours after all, let it show a new code."),
    mark="denied",
)
EXPIRED = Outcome(
    _("This code has expired"),
    _("A code is valid for ten minutes. Let your screen show a new one and enter that."),
    410,
    mark="late",
)
USED = Outcome(
    _("This code has been used already"),
    _("A code signs one screen in, once. Let your screen show a new one if it needs it."),
    409,
)
NOTHING_CHOSEN = Outcome(_("Nothing was chosen"), _("Please approve or deny this screen."), 400)
SUBSCRIBER_MISSING = Outcome(
    _("Which subscriber?"),
    _("Enter the code of the subscriber who gets this screen."),
    400,
    field="subscriber_code",
)
NOT_LINKED = Outcome(
    _("Your account cannot sign a screen in"),
    _("It belongs to no subscriber. Ask your operator to link it to your subscription."),
    403,
)
TRY_AGAIN = Outcome(
    _("That did not work just now"),
    _("Nothing was changed. Please try again in a few seconds."),
    503,
    retry_after_s=5,
)
OF_REFUSAL = {
    "already_approved": USED,
    "already_denied": replace(DENIED, status=409),
    "expired_code": EXPIRED,
    "no_free_smartcard": Outcome(
        _("No smartcard is free"),
        _("All cards of this subscription are in use. Sign another device out first."),
        409,
    ),
    "permission_denied": Outcome(_("Not allowed"), _("Your account may not approve this."), 403),
    "smartcard_in_use": Outcome(
        _("The smartcard is in use"),
        _("Another device uses it. Choose another card, or revoke that device first."),
        409,
        field="sn",
    ),
    "subscriber_locked": Outcome(
        _("The subscription is locked"),
        _("No screen can be signed in for it at the moment."),
        409,
        field="subscriber_code",
    ),
    "udid_in_use": Outcome(
        _("The device belongs to another subscriber"),
        _("It is signed in there. It has to be revoked before somebody else can use it."),
        409,
    ),
    "unknown_code": Outcome(
        _("We do not know this code"),
        _("Compare it with your screen, letter by letter. There are no vowels in it."),
        404,
        field="user_code",
    ),
    "unknown_smartcard": Outcome(
        _("No such smartcard"), _("The subscriber has no card with this number."), 404, field="sn"
    ),
    "unknown_subscriber": Outcome(
        _("No such subscriber"),
        _("Nobody in your company has this subscriber code."),
        404,
        field="subscriber_code",
    ),
}


def of(refusal: Refusal) -> Outcome:
    """Why it could not be done. Missing and foreign things read alike, as they answer alike."""
    if refusal.code == "rate_limited":
        return _too_many(math.ceil(refusal.retry_after_s))
    return OF_REFUSAL.get(refusal.code, TRY_AGAIN)


def of_pairing(pairing: Pairing, person: str) -> Outcome:
    """What became of a pairing that no longer waits, as far as `person` may know."""
    standing = pairing.standing(clock.now())
    if standing in ACTIVE:
        return _approved(pairing) if pairing.approved_by == person else USED
    return DENIED if standing is State.DENIED else EXPIRED


def _approved(pairing: Pairing) -> Outcome:
    subscriber = pairing.subscriber
    who = f"{subscriber.code} {subscriber.name}".strip() if subscriber else ""
    text = _("It has access for %(who)s now and shows it within seconds. You can close this page.")
    return Outcome(_("Your screen is being signed in"), text % {"who": who}, mark="approved")


def _too_many(wait_s: int) -> Outcome:
    minutes = max(1, math.ceil(wait_s / 60))
    text = ngettext(
        "Please wait %(minutes)d minute before you try again.",
        "Please wait %(minutes)d minutes before you try again.",
        minutes,
    )
    return Outcome(
        _("Too many wrong codes"),
        text % {"minutes": minutes},
        429,
        field="user_code",
        retry_after_s=max(1, wait_s),
    )
