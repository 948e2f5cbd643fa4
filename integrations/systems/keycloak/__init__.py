"""Keycloak: beside what any provider can do, its users are disabled and signed out, and secrets of clients replaced."""

from typing import ClassVar, Final

from integrations.identity.provider import Provider, provider_system
from integrations.system import Works

KIND: Final = "keycloak"


class Keycloak(Provider):
    """A realm of a Keycloak; its issuer says which.

    Our client's service account has the roles of `realm-management` that `doctor` names.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"token", "user", "client"})


def _works() -> Works:
    from integrations.systems.keycloak.works import WORKS  # noqa: PLC0415  # imported when it is first needed

    return WORKS


SYSTEM = provider_system(KIND, "Keycloak", _works, __name__, Keycloak)
