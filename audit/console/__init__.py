"""The subcommands of `manage.py audit`, one module each.

A module has a docstring that is its help, `add_arguments(parser)` and `run(options, out)`, which
returns the exit status: 0 all is well, 1 something in the trail is not, 2 it could not be asked.
"""
