"""How the OpenAPI document names our ways to identify."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension


class PrincipalScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "accounts.authentication.PrincipalAuthentication"
    name = ["bearer", "session"]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        """Alternatives; several names in one requirement would all be needed at once."""
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, Any]]:
        words = "An API key (stb_...) or an access token."
        return [
            {"type": "http", "scheme": "bearer", "description": words},
            {"type": "apiKey", "in": "cookie", "name": "sessionid"},
        ]
