"""Evidence from a realm: the sessions of a user, of which nothing is left once they are ended."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from typing_extensions import override

from integrations.exhibits import add_text
from integrations.hostile import printable
from integrations.systems.keycloak.actions import SESSIONS, user_of
from integrations.systems.keycloak.client import Listed, Realm
from playbooks.action import Capture, Sink, World
from playbooks.strict import Name, Slug, iso
from playbooks.text.sentences import say

_HEAD: Final = ("started", "last access", "address", "goes on offline", "clients", "session")
_CLIENTS: Final = 2000
"""Characters of a session's clients, in the table; the list as it came has all of them."""

_LAST: Final = 253_402_300_799_000
"""The last millisecond that has a date."""


class CaptureSessions(Capture):
    """The sessions of a user, those too that go on offline: since when, last used when, from where, at which clients.

    A session that begins after that, and before they are ended, is not in it.

    Args:
        principal: whose, as the inventory names it.
        system: in which realm; in the one that it is in if None.
    """

    name: ClassVar[str] = "keycloak.capture_sessions"
    exhibit: ClassVar[str] = SESSIONS
    permissions: ClassVar[tuple[str, ...]] = ("role view-users",)

    principal: Name
    system: Slug | None = None

    @override
    async def collect(self, world: World, sink: Sink) -> None:
        name, at = user_of(self.principal, self.system, world)
        realm = world.reach(Realm, name)
        some = await realm.listed(at.user)
        for number, listed in enumerate(some):
            file = f"{name}-offline-{number}.json" if listed.offline else f"{name}-sessions.json"
            origin = f"{realm.root}{listed.path}"
            await sink.add(file, listed.raw, media_type="application/json", origin=origin)
        rows = sorted(_row(one, listed) for listed in some for one in listed.entries)
        if not rows:
            sink.lacks(say("{a} had no session at provider {b} when it was asked", a=self.principal, b=name))
        text = "".join("\t".join(row) + "\n" for row in (_HEAD, *rows))
        origin = f"the lists of {at.user} at {realm.settings.issuer}, with times in UTC"
        await add_text(sink, f"{name}-sessions.tsv", text, origin, media_type="text/tab-separated-values")


def _row(one: dict[str, Any], listed: Listed) -> tuple[str, ...]:
    clients = one.get("clients")
    named: Iterable[object] = clients.values() if isinstance(clients, dict) else ()
    where = printable(", ".join(sorted(map(str, named))), _CLIENTS)
    address, id_ = printable(str(one.get("ipAddress", ""))), printable(str(one["id"]))
    offline = "yes" if listed.offline else "no"
    return _time(one.get("start")), _time(one.get("lastAccess")), address, offline, where, id_


def _time(milliseconds: object) -> str:
    """Return a time of Keycloak's, which counts milliseconds; empty where that is none."""
    if not isinstance(milliseconds, int) or not 0 < milliseconds < _LAST:
        return ""
    return iso(datetime.fromtimestamp(milliseconds / 1000, UTC))


CAPTURES: Final = (CaptureSessions,)
