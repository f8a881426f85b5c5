"""How long things live, in seconds."""

#: A user_code, and a pairing that waits for approval.
CODE_S = 600
#: A device may renew its code for this long after it asked first.
RENEWABLE_S = 3600
#: The code is still known for a while after it died, so that its late typist hears `expired_code`.
CODE_REMEMBERED_S = 2 * CODE_S
#: An approved pairing waits for its device.
COLLECT_S = 600
#: The answer of a delivery is served again to the same device.
REDELIVERY_S = 120
#: An Idempotency-Key stands for the answer it was first given.
IDEMPOTENCY_S = 600
#: Between two polls of a device (RFC 8628, section 3.2), as long as nobody changed the policy.
INTERVAL_S = 5
