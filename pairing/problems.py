"""Every refusal of pairing that a client can meet, with its status and its words."""

from ratelimit.problem import REDUCED_CAPACITY, Problem, register

register(
    Problem(400, "unknown_client", "No such client"),
    Problem(401, "invalid_device_code", "The device_code is missing or not one of ours"),
    Problem(403, "access_denied", "The pairing was refused"),
    Problem(404, "unknown_code", "No such code"),
    Problem(404, "unknown_subscriber", "No such subscriber"),
    Problem(404, "unknown_smartcard", "The subscriber has no such smartcard"),
    Problem(409, "already_approved", "The code has been approved already"),
    Problem(409, "already_denied", "The code has been denied already"),
    Problem(409, "already_revoked", "The device has been revoked already"),
    Problem(
        409, "ambiguous_udid", "The UDID does not say which device is meant; use the user_code"
    ),
    Problem(409, "authorization_pending", "Nobody has approved the pairing yet"),
    Problem(409, "differs_in_case", "It is stored already, in other capitals"),
    Problem(409, "idempotency_in_progress", "The same request is being served right now"),
    Problem(409, "no_free_smartcard", "All smartcards of the subscriber are in use"),
    Problem(409, "not_delivered", "There is no delivery to acknowledge"),
    Problem(409, "smartcard_in_use", "Another device uses the smartcard"),
    Problem(409, "smartcard_taken", "Another subscriber has the smartcard"),
    Problem(409, "subscriber_locked", "The subscriber is locked"),
    Problem(409, "udid_in_use", "A device of another subscriber uses the UDID"),
    Problem(410, "already_collected", "The credentials have been collected and acknowledged"),
    Problem(410, "expired_code", "The code has expired"),
    Problem(410, "expired", "The pairing has expired"),
    Problem(422, "idempotency_mismatch", "The Idempotency-Key was used with another body"),
    Problem(429, "slow_down", "Polled before the interval was over"),
    Problem(503, "contended", "Too many changed the same thing at once"),
    Problem(503, "search_unavailable", "No search at the moment", REDUCED_CAPACITY),
    Problem(503, "credentials_sealed", "The credentials cannot be opened now", REDUCED_CAPACITY),
)
