"""What a gateway has and an inventory does not, as additions to it; and what the inventory has that is gone there."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from flows.cli.work.inventory import FILL_IN
from integrations.estate import Entry, Estate, IssuedToken, User
from playbooks.estate.gateway import Account, Gateway
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import PinKind
from playbooks.estate.spelling import fold, slug
from playbooks.strict import Json, Name, now
from playbooks.text.insertion import Addition, Path

_OFFERS: Final = {PinKind.TOOL: "tools", PinKind.PROMPT: "prompts", PinKind.RESOURCE: "resources"}


@dataclass
class Found:
    """What an import comes to.

    Args:
        additions: to inventory.yaml.
        servers: the new ones, by the names that they get.
        principals: likewise.
        tokens: new ones of known principals, as PRINCIPAL/NAME.
        own: ids of our own tokens that are new.
        others: servers that were known, with the number of things that are new.
        gone: what the inventory has and the gateway has no more, or under another id.
        notes: what people have to look at.
    """

    additions: list[Addition] = field(default_factory=list)
    servers: list[str] = field(default_factory=list)
    principals: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def compare(
    inventory: Inventory, name: str, gateway: Gateway, estate: Estate, *, own: IssuedToken | None = None
) -> Found:
    """Return what a gateway has and an inventory does not, and the other way round.

    Args:
        inventory: as it is.
        name: what it calls the gateway, known or not.
        gateway: as it is, or is to be.
        estate: what the gateway has.
        own: a token that was only just made for the canary.
    """
    found = Found()
    taken = _Names(inventory, gateway)
    mine = [token.id for token in estate.tokens if fold(token.user) in taken.ours] + ([own.id] if own else [])
    found.own = [id_ for id_ in dict.fromkeys(mine) if id_ not in gateway.credential_ids]
    if name not in inventory.gateways:
        found.additions.append(_gateway(name, gateway, found.own))
    elif found.own:
        found.additions += _own_ids(inventory, name, found.own)
    _servers(inventory, name, estate, taken, found)
    _principals(inventory, name, estate, taken, found)
    found.notes += [f"left out: {said}" for said in estate.left_out]
    if estate.strays:
        found.notes.append(f"{estate.strays} tools, prompts or resources belong to no server: they are not imported")
    return found


def _own_ids(inventory: Inventory, name: str, ids: Sequence[str]) -> Iterator[Addition]:
    if "credential_ids" in inventory.gateways[name].model_fields_set:
        path = ("systems", name, "credential_ids")
        yield from (Addition(path, None, id_) for id_ in ids)
    else:
        yield Addition(("systems", name), "credential_ids", list(ids))


class _Names:
    """Names that are free, among servers and among principals.

    Args:
        inventory: whose names are taken.
        gateway: the gateway that is looked through.
    """

    def __init__(self, inventory: Inventory, gateway: Gateway) -> None:
        self.ours = {fold(gateway.user), fold(gateway.canary.principal)}
        servers = ((name, *one.aliases) for name, one in inventory.servers.items())
        principals = ((name, *one.names) for name, one in inventory.principals.items())
        self.servers = {fold(name) for names in servers for name in names}
        self.principals = {fold(name) for names in principals for name in names}

    @staticmethod
    def free(taken: set[str], *wishes: str) -> str:
        """Return the first wish that is free, or the last with a number, and take it."""
        last = wishes[-1]
        numbered = (f"{last}-{number}" for number in range(2, len(taken) + 3))
        name = next(one for one in (*wishes, *numbered) if fold(one) not in taken)
        taken.add(fold(name))
        return name


def _gateway(name: str, gateway: Gateway, own: Sequence[str]) -> Addition:
    value: dict[str, Any] = {
        "kind": gateway.kind,
        "url": gateway.url,
        "user": gateway.user,
        "password": gateway.password.model_dump(exclude_none=True),
        "canary": {
            "principal": gateway.canary.principal,
            "token": gateway.canary.token.model_dump(exclude_none=True),
            "url": gateway.canary.url,
        },
        "credential_ids": list(own),
    }
    above: dict[Path, Sequence[str]] = {
        ("canary",): ("An ordinary client of ours that asks whether something can be reached.",),
        ("credential_ids",): ("Our own tokens there: never a target.",),
    }
    return Addition(("systems",), name, value, above=above)


def _servers(inventory: Inventory, name: str, estate: Estate, taken: _Names, found: Found) -> None:
    known = {
        one.gateway.id: server for server, one in inventory.servers.items() if one.gateway and one.gateway.name == name
    }
    direct = {_place(one.url): server for server, one in inventory.servers.items() if one.url and one.gateway is None}
    called: dict[str, int] = {}
    for entry in estate.entries:
        called[fold(entry.name)] = called.get(fold(entry.name), 0) + 1
    for entry in estate.entries:
        offers = _offers(entry, estate)
        if entry.id in known:
            _more_of(inventory, known[entry.id], offers, found, whole=not estate.partial)
        elif entry.url and _place(entry.url) in direct:
            message = f"server {direct[_place(entry.url)]} has the address of the gateway's entry {entry.name}: give it"
            found.notes.append(f"{message} `places: {{{name}: {{id: {entry.id}}}}}` if it is the same")
        else:
            wish = slug(entry.name)
            server = taken.free(taken.servers, wish)
            found.servers.append(server)
            alias = entry.name if called[fold(entry.name)] == 1 and fold(entry.name) not in taken.servers else None
            if alias and _is_name(alias):
                taken.servers.add(fold(alias))
            found.additions.append(_server(server, name, entry, alias if alias and _is_name(alias) else None, offers))
    _gone_servers(known, estate, found)


def _place(url: str) -> str:
    """Return an address as the gateway writes it: it takes 127.0.0.1 for localhost."""
    return re.sub(r"^(https?)://(127\.0\.0\.1|\[::1\])(?=[:/]|$)", r"\1://localhost", url.rstrip("/"))


def _gone_servers(known: Mapping[str, str], estate: Estate, found: Found) -> None:
    there = {entry.id for entry in estate.entries}
    if any(said.startswith("servers:") for said in estate.partial):
        return
    for id_, server in known.items():
        if id_ in there:
            continue
        again = [entry for entry in estate.entries if slug(entry.name) == slug(server)]
        now_ = f"; {again[0].name} is there under the id {again[0].id}" if again else ""
        found.gone.append(f"server {server}: the gateway has no entry {id_} any more{now_}")


def _offers(entry: Entry, estate: Estate) -> dict[str, dict[str, str]]:
    offers: dict[str, dict[str, str]] = {}
    for held in estate.objects.get(entry.id, ()):
        if _is_name(held.name):
            offers.setdefault(_OFFERS[held.kind], {}).setdefault(held.name, held.id)
    return {kind: dict(sorted(some.items())) for kind, some in sorted(offers.items())}


def _more_of(
    inventory: Inventory, server: str, offers: Mapping[str, Mapping[str, str]], found: Found, *, whole: bool
) -> None:
    """Add what a known server offers besides, and name what differs; approved things are the business of pins."""
    one, count = inventory.servers[server], 0
    path = ("servers", server, "offers")
    for kind, plural in _OFFERS.items():
        written, approved = one.offers.of(kind), {pin.name for pin in inventory.pins.of(server, kind)}
        there = offers.get(plural, {})
        for name, id_ in there.items():
            if name not in written and name not in approved:
                count += 1
                found.additions.append(Addition((*path, plural), name, id_))
            elif name in written and written[name] != id_:
                message = f"{kind} {name} of {server}: its id is {id_} by now; inventory.yaml says {written[name]}"
                found.gone.append(message)
        if whole:
            found.gone += [
                f"{kind} {name} of {server}: the gateway does not hold it any more"
                for name in written
                if name not in there
            ]
    if count:
        found.others[server] = count


def _is_name(text: str) -> bool:
    try:
        return bool(TypeAdapter(Name).validate_python(text) == text)
    except ValidationError:
        return False


def _server(server: str, gateway: str, entry: Entry, alias: str | None, offers: dict[str, dict[str, str]]) -> Addition:
    value: dict[str, Json] = {"title": entry.name}
    if alias and alias != server:
        value["aliases"] = [alias]
    if entry.url:
        value["url"] = entry.url
    value |= {
        "places": {gateway: {"id": entry.id}},
        "owner": "unknown",
        "criticality": "high",
        "environment": "prod",
    }
    remarks = [f"From gateway {gateway}, {now():%Y-%m-%d}."]
    if not entry.url:
        remarks.append("The gateway gives no address of its own that can be asked; add `url` to have it compared.")
    if entry.credentials:
        remarks.append(f"The gateway uses credentials there ({entry.credentials}); its own address is asked without.")
    if not entry.enabled:
        remarks.append("It is disabled at the gateway.")
    beside: dict[Path, str] = {
        ("owner",): f"{FILL_IN} who answers for it",
        ("criticality",): f"{FILL_IN} what it costs when it is away: low, medium, high, critical",
        ("environment",): f"{FILL_IN} dev, test, prod",
    }
    above: dict[Path, Sequence[str]] = {
        (): remarks,
        ("offers",): (
            f"{FILL_IN} a harmless tool, with arguments that change nothing: its call proves that the path works.",
            "control_tool: NAME",
            "tools: {NAME: {risk: low, safe_arguments: {}}}",
            f"What {gateway} held of it: name and id. Nobody approved any of it; `pins approve {server}` does.",
        ),
    }
    if offers:
        value["offers"] = {kind: dict(some) for kind, some in offers.items()}
    else:
        above[("places",)] = above.pop(("offers",))[:3]
    return Addition(("servers",), server, value, beside, above)


def _principals(inventory: Inventory, name: str, estate: Estate, taken: _Names, found: Found) -> None:
    accounts = {who: at for who, one in inventory.principals.items() if isinstance(at := one.places.get(name), Account)}
    known = {fold(account.user): who for who, account in accounts.items()}
    tokens: dict[str, dict[str, str]] = {}
    ids = inventory.token_ids | {token.id for token in estate.tokens}
    for token in estate.tokens:
        mine = tokens.setdefault(fold(token.user), {})
        mine[_label(token.name, token.id, mine, ids)] = token.id
    for user in estate.users:
        key = fold(user.email)
        if key in taken.ours:
            continue
        if key in known:
            _more_tokens((known[key], name), accounts[known[key]], tokens.get(key, {}), ids, found)
            continue
        if key in taken.principals:
            found.notes.append(f"user {user.email} is a principal already, of another gateway or spelling: left out")
            continue
        taken.principals.add(key)
        local, _, domain = user.email.partition("@")
        # An e-mail address as a name would be masked in messages; its owner is found by it all the same.
        who = taken.free(taken.principals, slug(local, "user"), slug(f"{local}-{domain}", "user"))
        found.principals.append(who)
        found.additions.append(_principal(who, name, user, tokens.get(key, {})))
    complete = not any(said.startswith(("users:", "tokens:")) for said in estate.partial)
    if complete:
        _gone_principals(accounts, estate, found)


def _label(wish: str, id_: str, taken: Collection[str], ids: Collection[str]) -> str:
    """Return what a token is called: as its owner wishes, if nothing of theirs is called so and it is no other's id."""
    marked = f"{wish[:150]}~{id_[:40]}"
    wishes = (wish, marked, *(f"{marked}-{number}" for number in range(2, len(taken) + 3)))
    return next(one for one in wishes if one not in taken and (one == id_ or one not in ids))


def _more_tokens(
    place: tuple[str, str], one: Account, tokens: Mapping[str, str], ids: Collection[str], found: Found
) -> None:
    who, gateway = place
    taken = set(one.tokens)
    for label, id_ in tokens.items():
        if id_ in one.tokens.values():
            continue
        free = _label(label, id_, taken, ids)
        taken.add(free)
        found.tokens.append(f"{who}/{free}")
        found.additions.append(Addition(("principals", who, "places", gateway, "tokens"), free, id_))


def _gone_principals(accounts: Mapping[str, Account], estate: Estate, found: Found) -> None:
    users, good = {fold(user.email) for user in estate.users}, {token.id for token in estate.tokens}
    for who, one in accounts.items():
        if fold(one.user) not in users:
            found.gone.append(f"principal {who}: the gateway has no user {one.user} any more")
            continue
        lost = [label for label, id_ in one.tokens.items() if id_ not in good]
        found.gone += [f"token {label} of {who}: revoked, over, or under another id at the gateway" for label in lost]


def _principal(who: str, gateway: str, user: User, tokens: dict[str, str]) -> Addition:
    named = bool(user.name) and fold(user.name) != fold(user.email.partition("@")[0])
    account: dict[str, Json] = {"user": user.email}
    if tokens:
        account["tokens"] = dict(tokens)
    value: dict[str, Json] = {"title": user.name if named else who, "places": {gateway: account}}
    if user.administrator:
        value["protected"] = True
    beside: dict[Path, str] = {} if named else {("title",): f"{FILL_IN} who or what uses it"}
    above: dict[Path, Sequence[str]] = {}
    if user.administrator:
        above["protected",] = ("A platform administrator: never cut without a human.",)
    if not user.active:
        above[()] = ("It is deactivated at the gateway.",)
    return Addition(("principals",), who, value, beside, above)
