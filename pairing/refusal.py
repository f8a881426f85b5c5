"""A refusal of the domain: a value that a view turns into an answer."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something was not done. `code` is one of `pairing.problems`, stable for clients."""

    code: str
    detail: str = ""
    #: When the same request may be tried again; 0 when waiting does not help.
    retry_after_s: float = 0
    violated: tuple[str, ...] = ()
