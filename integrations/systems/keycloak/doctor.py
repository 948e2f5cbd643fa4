"""What `doctor` looks at of a realm beside what it does of any provider: what our client is let do there."""

from collections.abc import AsyncIterator

from integrations.identity import doctor as any_provider
from integrations.system import Looked
from integrations.systems.keycloak.actions import ACTIONS
from integrations.systems.keycloak.captures import CAPTURES
from integrations.systems.keycloak.client import Realm
from playbooks.action import World


async def looked(world: World, name: str) -> AsyncIterator[Looked]:
    """Yield what is looked at of one.

    Args:
        world: the connections.
        name: the provider.
    """
    async for one in any_provider.looked(world, name):
        yield one
    realm, check = world.reach(Realm, name), f"provider {name}"
    has = await realm.rights()
    wanted: dict[str, list[str]] = {}
    for step in (*ACTIONS, *CAPTURES):
        for permission in step.permissions:
            wanted.setdefault(permission.removeprefix("role "), []).append(step.name)
    lacks = {role: steps for role, steps in wanted.items() if role not in has}
    if lacks:
        named = ", ".join(f"{role} ({', '.join(steps)})" for role, steps in lacks.items())
        remedy = f"give the service account of client {realm.settings.client} these roles of realm-management"
        yield Looked(check, "fail", f"our client lacks the role {named}", remedy)
    else:
        yield Looked(check, "ok", f"our client has the roles {', '.join(wanted)}")
