#!/usr/bin/env python
"""Django's entry point for this repository's commands."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stabilizer.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
