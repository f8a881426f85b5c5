"""The subcommands of `manage.py policy`, one module each.

A module has a docstring that is its help, `add_arguments(parser)` and `run(options, out)`, which
returns the exit status: 0 it is done, 1 it is refused, 2 what was given is wrong.
"""

from audit.console.out import Out


def fail(out: Out, status: int, code: str, words: str) -> int:
    """Say why nothing was done; `code` is stable."""
    out.object({"error": code, "detail": words})
    out.line(words)
    return status
