"""Evidence from a provider: what it says of a principal's tokens, which it does no more once they are revoked."""

from typing import ClassVar, Final

from typing_extensions import override

from integrations.identity.client import Api
from integrations.identity.tokens import Held, held, none_held
from playbooks.action import Capture, Sink, World
from playbooks.strict import Name, Slug

TOKENS: Final = "issued_tokens"
"""The exhibit."""


class CaptureTokens(Capture):
    """What a provider says of itself, and of each token of a principal that is held: to whom, for what, until when.

    Args:
        principal: whose, as the inventory names it.
        system: at which provider; at all if None.
    """

    name: ClassVar[str] = "oidc.capture_tokens"
    exhibit: ClassVar[str] = TOKENS
    permissions: ClassVar[tuple[str, ...]] = ()

    principal: Name
    system: Slug | None = None

    @override
    async def collect(self, world: World, sink: Sink) -> None:
        found: dict[str, list[Held]] = {}
        for one in held(world, self.principal, self.system):
            found.setdefault(one.provider, []).append(one)
        if not found:
            raise none_held(world, self.principal, self.system)
        for provider, tokens in found.items():
            api = world.reach(Api, provider)
            raw, issuer = (await api.described()).raw, api.settings.issuer
            await sink.add(f"{provider}.json", raw, media_type="application/json", origin=issuer)
            for one in tokens:
                claims, raw = await api.introspection(one.value)
                if claims is None:
                    sink.lacks(f"{one.target}: the provider says nothing but that it is not active")
                origin = f"introspection of {one.target.id} at {issuer}"
                await sink.add(f"{provider}-{one.target.id}.json", raw, media_type="application/json", origin=origin)


CAPTURES: Final = (CaptureTokens,)
