"""How an answer says that it is less than usual, because of pressure."""

from django.http.response import HttpResponseBase

from ratelimit.flags import Step

#: A list of tokens (RFC 8941): the steps that made this answer what it is.
HEADER = "Degraded"


def mark(answer: HttpResponseBase, step: Step) -> None:
    """Say that `step` has left something out of `answer`."""
    before = answer.get(HEADER)
    answer[HEADER] = f"{before}, {step.name}" if before else step.name
