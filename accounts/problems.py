"""The problems the API can answer with whatever the endpoint; `docs/errors.md` explains each."""

from ratelimit.problem import REDUCED_CAPACITY, Problem, register

register(
    Problem(400, "malformed", "The request cannot be read"),
    Problem(400, "invalid", "The request has wrong values"),
    Problem(400, "unknown_field", "The request has a field that does not exist"),
    Problem(401, "not_authenticated", "Identify yourself"),
    Problem(403, "permission_denied", "Not allowed"),
    Problem(404, "not_found", "Not found"),
    Problem(405, "method_not_allowed", "Method not allowed"),
    Problem(406, "not_acceptable", "The answer cannot be given in this form"),
    Problem(413, "too_large", "The request is too large"),
    Problem(415, "unsupported_media_type", "Send application/json"),
    Problem(500, "server_error", "Our fault"),
    Problem(503, "audit_unavailable", "The change cannot be recorded", REDUCED_CAPACITY),
    Problem(503, "database_unavailable", "The database cannot be reached", REDUCED_CAPACITY),
)
