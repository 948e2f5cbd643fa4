"""What people name on the command line, as entities."""


def entities(
    *,
    servers: list[str] | None,
    tools: list[str] | None,
    prompts: list[str] | None,
    resources: list[str] | None,
    tokens: list[str] | None,
    principals: list[str] | None,
) -> list[tuple[str, str, str | None]]:
    """Return kind, name and server of each thing that was named.

    A tool or a prompt may be written SERVER/NAME; without, it belongs to the one server that was named.
    """
    home = servers[0] if servers and len(servers) == 1 else None
    found: list[tuple[str, str, str | None]] = [("server", name, None) for name in servers or ()]
    for kind, names in (("tool", tools), ("prompt", prompts)):
        for name in names or ():
            where, slash, thing = name.partition("/")
            found.append((kind, thing, where) if slash else (kind, name, home))
    found += [("resource", name, home) for name in resources or ()]
    found += [("token", name, None) for name in tokens or ()]
    found += [("principal", name, None) for name in principals or ()]
    return found
