"""what a file's changed policies would have refused lately, by tenant and policy"""

import re
from argparse import ArgumentParser
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from audit import clock
from audit.console.out import Out
from ratelimit import draft
from ratelimit.draft import BadDraft
from stabilizer import backtest
from stabilizer.console import fail

UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="TOML: the numbers that change")
    parser.add_argument(
        "--since", default="24h", metavar="TIME", help="30m, 24h or 7d ago, or a time in UTC"
    )


def run(options: dict[str, Any], out: Out) -> int:
    until = clock.now()
    try:
        since = _moment(options["since"], until)
        drafts = draft.load(options["file"])
    except BadDraft as error:
        return fail(out, 2, error.code, str(error))
    with out.progress("replaying seconds", round((until - since).total_seconds())) as bar:
        tallies = backtest.run(drafts, since, until, bar.advance)
    for (tenant, policy), tally in sorted(tallies.items()):
        out.object({"tenant": tenant, "policy": policy, **asdict(tally)})
        by = ", ".join(f"{limit} {number}" for limit, number in tally.limits.items())
        out.line(
            f"{tenant or '-':<20} {policy:<20} {tally.requests:>9} requests, then"
            f" {tally.refused_then} refused; {tally.newly_refused} more would be"
            f"{f' ({by})' if by else ''}, {tally.newly_admitted} fewer"
        )
    unknown = backtest.unknown(drafts)
    newly = sum(tally.newly_refused for tally in tallies.values())
    out.object({"since": since, "until": until, "newly_refused": newly, "unknown": unknown})
    out.line(f"{newly} would have been refused since {since:%Y-%m-%d %H:%M} UTC. Not known:")
    for sentence in unknown:
        out.line(f"  {sentence}")
    return 0


def _moment(text: str, now: datetime) -> datetime:
    if ago := re.fullmatch(r"(\d{1,6})([mhd])", text):
        return now - timedelta(**{UNITS[ago[2]]: int(ago[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        known = "30m, 24h, 7d, or a time as 2026-11-26T08:00"
        raise BadDraft("bad_value", "--since", known) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment >= now:
        raise BadDraft("bad_value", "--since", "this is not in the past")
    return moment
