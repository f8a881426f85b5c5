"""How far a spool has been cut into segments, kept beside it for the next shipper.

A ledger that is lost or behind costs a resend and no record: numbers that a marker gives to other
bytes are replaced (`audit.shipping.Source.free`), and an event that comes twice is stored once.
"""

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

SUFFIX = ".ledger"


@dataclass(slots=True)
class Cut:
    """A segment not yet known to be in the trail; `sent_at` is 0 until it was handed over."""

    number: int
    start_byte: int
    end_byte: int
    events: int
    sent_at: float = 0.0


class Ledger:
    """One spool's segments: those not yet stored, and where the next one begins."""

    def __init__(self, spool: Path) -> None:
        self.path = spool.with_suffix(SUFFIX)
        self.next_number = 0
        self.cut_byte = 0
        self.unstored: list[Cut] = []
        self._saved = ""
        self._load()

    @property
    def freed_byte(self) -> int:
        """Everything before it is in the trail."""
        return min([cut.start_byte for cut in self.unstored], default=self.cut_byte)

    def save(self, *, sync: bool) -> None:
        """Replace the file, if anything changed; with `sync` it outlives a power cut."""
        state = self._state()
        if state == self._saved:
            return
        draft = self.path.with_suffix(SUFFIX + ".new")
        try:
            with draft.open("w", encoding="ascii") as file:
                file.write(state)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as error:  # a full disk is emptied by going on
            logger.warning("ledger %s: %s", self.path, error)
        else:
            self._saved = state

    def _load(self) -> None:
        try:
            state = json.loads(self.path.read_text(encoding="ascii"))
            self.unstored = [Cut(**cut) for cut in state["unstored"]]
            self.next_number, self.cut_byte = state["next_number"], state["cut_byte"]
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("ledger %s is unreadable, its spool is sent anew: %s", self.path, error)
        self._saved = self._state()

    def _state(self) -> str:
        return json.dumps(
            {
                "next_number": self.next_number,
                "cut_byte": self.cut_byte,
                "unstored": [asdict(cut) for cut in self.unstored],
            }
        )
