"""What the apps above hear of pairings."""

from django.dispatch import Signal

#: Sent after the commit of every change of a pairing, with `id` (UUID) and `version` (int). The
#: receiver reads the state itself: two signals may arrive in either order.
changed = Signal()
