"""Evidence from a gateway: what it holds, what it logged, and what it knows of one principal."""

from typing import ClassVar

from typing_extensions import override

from integrations.exhibits import add_json, add_text
from integrations.gateways.driver import driver_at, entry_of
from integrations.gateways.principals import account_of
from playbooks.action import Capture, Sink, World
from playbooks.errors import Misconfigured, Refused, SoarError
from playbooks.strict import Name, Slug


class OfGateway(Capture):
    """What a gateway knows."""

    permissions: ClassVar[tuple[str, ...]] = ()
    """As of an action there."""


class CaptureState(OfGateway):
    """Everything that a gateway holds: servers, tools, prompts, resources, users, tokens; no secret among it.

    Args:
        server: the server whose gateway it is, as the inventory names it.
    """

    name: ClassVar[str] = "gateway.capture_state"
    exhibit: ClassVar[str] = "gateway_state"

    server: Slug

    @override
    async def collect(self, world: World, sink: Sink) -> None:
        driver = driver_at(entry_of(self.server, world).name, world, self.name)
        state = await driver.export_state()
        await add_json(sink, "gateway-state.json", state, f"{driver.origin}{driver.state_at}")


class CaptureLogs(OfGateway):
    """A gateway's newest logs, as who changed what and who was refused. No product logs everything.

    Args:
        server: the server whose gateway it is, as the inventory names it.
    """

    name: ClassVar[str] = "gateway.capture_logs"
    exhibit: ClassVar[str] = "gateway_logs"

    server: Slug

    @override
    async def collect(self, world: World, sink: Sink) -> None:
        driver = driver_at(entry_of(self.server, world).name, world, self.name)
        logs = await driver.logs()
        origin = f"{driver.origin}{driver.logs_at}"
        if not any(logs.values()):
            raise Misconfigured(
                f"gateway {driver.name} holds nothing of {' and '.join(logs).replace('_', ' ')}: {_OFF}."
                f" {driver.logged_if.format(name=driver.name)}. {driver.unlogged}"
            )
        for name, entries in logs.items():
            file = name.replace("_", "-")
            await add_json(sink, f"{file}.json", entries, origin)
            if not entries:
                text = f"{name} is empty: {_OFF}. {driver.unlogged}.\n"
                sink.lacks(f"{name.replace('_', ' ')}: nothing: {_OFF}")
                await add_text(sink, f"{file}-empty.txt", text, origin)


class CapturePrincipal(OfGateway):
    """What a gateway knows of a principal: account, roles, tokens with their scopes and last use, and what it changed.

    No secret is among it. What the gateway does not tell of these stands in `missing.txt`; without the account itself
    there is no exhibit.

    Args:
        principal: who, as the inventory names it.
    """

    name: ClassVar[str] = "gateway.capture_principal"
    exhibit: ClassVar[str] = "principal"

    principal: Name

    @override
    async def collect(self, world: World, sink: Sink) -> None:
        gateway, at = account_of(self.principal, world)
        driver = driver_at(gateway, world, self.name)
        account, *lists = driver.known_of(at.user)
        known = await account.ask()
        if known is None:
            raise Refused(f"gateway {driver.name} has no user for {self.principal}")
        await add_json(sink, f"{account.name}.json", known, f"{driver.origin}{account.origin}")
        missing: list[str] = []
        for name, ask, origin in lists:
            try:
                answer = await ask()
            except SoarError as exc:
                missing.append(f"{name}: {exc}")
            else:
                await add_json(sink, f"{name}.json", answer, f"{driver.origin}{origin}")
        try:
            logs = await driver.logs(user=at.user)
        except SoarError as exc:
            missing.append(f"logs: {exc}")
            logs = {}
        for name, entries in logs.items():
            origin = f"{driver.origin}{driver.logs_at}, what names this user"
            await add_json(sink, f"{name.replace('_', '-')}.json", entries, origin)
            if not entries:
                missing.append(f"{name}: nothing that names this user: {_OFF}")
        for line in missing:
            sink.lacks(line)
        missing += [driver.unknown] if driver.unknown else []
        text = "".join(f"{line}\n" for line in missing)
        await add_text(sink, "missing.txt", text, "computed from the other files of this exhibit")


_OFF = "switched off there, or nothing happened yet that it records"
