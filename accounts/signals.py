"""What the apps above hear of callers."""

from django.dispatch import Signal

#: Sent with `principal` when a request was identified by an access token. A receiver may raise
#: `AuthenticationFailed`, and must be cheap: every such request waits for it.
token_used = Signal()
