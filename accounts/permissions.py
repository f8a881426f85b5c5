"""Who may call a view. Other tenants' objects are not refused here but never found."""

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from accounts.principal import Principal


class IsIdentified(BasePermission):
    """Any key, any token, any person of a tenant."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.auth, Principal)


def needs(scope: str, *, write: str | None = None) -> type[BasePermission]:
    """A permission class: the caller has `scope`, or `write`, if given, for unsafe methods."""

    class HasScope(IsIdentified):
        def has_permission(self, request: Request, view: Any) -> bool:
            wanted = scope if request.method in SAFE_METHODS else write or scope
            return isinstance(request.auth, Principal) and wanted in request.auth.scopes

    return HasScope
