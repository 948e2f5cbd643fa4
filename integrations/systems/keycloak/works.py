"""How a realm is reached, and what can be done there."""

from typing import Final

from integrations.identity.works import provider_works
from integrations.systems.keycloak import KIND
from integrations.systems.keycloak.actions import ACTIONS
from integrations.systems.keycloak.captures import CAPTURES
from integrations.systems.keycloak.client import Realm
from integrations.systems.keycloak.doctor import looked
from integrations.systems.keycloak.settings import asks

WORKS: Final = provider_works(KIND, Realm, steps=(*ACTIONS, *CAPTURES), doctor=looked, asked=asks)
