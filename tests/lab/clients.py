"""Principals beside the lab's agent: they are given tokens at the gateway, and ask whether it lets them in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from integrations.protocol.client import McpEndpoint
from integrations.registry import SYSTEMS
from integrations.systems.contextforge import enrol
from playbooks.estate.gateway import GatewayAccount
from playbooks.estate.inventory import Inventory, Principal
from playbooks.estate.systems import Secret
from tests.lab import scenes
from tests.lab.fixtures import Lab, unique_name

AGENT = "agent"
"""What drills call the lab's own agent, and its token."""


@dataclass(frozen=True)
class Clients:
    """Everybody who uses the lab's gateway.

    Args:
        inventory: the lab's, with them in it.
        names: what a drill calls a principal → what the inventory calls it.
        secrets: `principal/token`, as a drill calls them → what its bearer sends.
        url: where clients reach the gateway.
    """

    inventory: Inventory
    names: Mapping[str, str]
    secrets: Mapping[str, str]
    url: str

    def token_id(self, client: str) -> str:
        """Return the gateway's id of a client's token."""
        who, _, label = client.partition("/")
        return self.inventory.principals[self.names[who]].tokens[label]

    async def let_in(self, client: str) -> bool:
        """Return whether the gateway answers a client."""
        endpoint = McpEndpoint(client, self.url, principal=client, token=self.secrets[client])
        try:
            reply = await endpoint.ask("tools/list")
        finally:
            await endpoint.aclose()
        if reply.status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            return False
        assert reply.result is not None, f"{client} is neither answered nor turned away: {reply.said}"
        return True


async def joined(lab: Lab, folder: Path, wanted: Mapping[str, tuple[str, ...]]) -> Clients:
    """Give principals their tokens, all of which are held.

    Args:
        lab: the lab; its agent has one token already.
        folder: for the secrets.
        wanted: what a drill calls a principal → the names of its tokens.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # noqa: ASYNC240  # a few bytes, at the start
    names, secrets = {AGENT: lab.site.principal}, {f"{AGENT}/{AGENT}": lab.site.agent.secret}
    principals = dict(lab.site.inventory.principals)
    async with scenes.operator(lab) as forge:
        for who, labels in wanted.items():
            name = names.setdefault(who, unique_name(who))
            known = principals.get(name) or Principal(title=who)
            account = known.gateway[1] if known.gateway else GatewayAccount(user=f"{name}@example.com")
            await enrol.client_user(forge, account.user)
            tokens, held = dict(account.tokens), dict(account.held)
            for label in labels:
                issued = await enrol.issue(forge, account.user, label)
                place = folder / f"{who}-{label}"
                place.touch(mode=0o600)
                place.write_text(issued.secret, encoding="utf-8")
                tokens[label], held[label] = issued.id, Secret(file=str(place))
                secrets[f"{who}/{label}"] = issued.secret
            places = {scenes.GATEWAY: account.model_copy(update={"tokens": tokens, "held": held})}
            principals[name] = known.model_copy(update={"places": places})
    inventory = lab.world.inventory.model_copy(update={"principals": principals})
    # model_copy keeps what was computed from the old ones.
    return Clients(
        Inventory.model_validate(inventory.model_dump(), context=SYSTEMS.context), names, secrets, lab.site.client_url
    )
