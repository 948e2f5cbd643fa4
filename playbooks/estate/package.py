"""How a package is named, and when two names mean one package. Pure.

Source: the package URL specification (purl, ECMA-427), as scanners and advisories write packages.
"""

from typing import NamedTuple

from packageurl import PackageURL


class Named(NamedTuple):
    """A package, as its one name has it.

    Args:
        package: its kind, namespace and name, as `pkg:pypi/mcp-server-git`; what is no package URL stands as it is.
        version: which of them; empty if none is said.
    """

    package: str
    version: str


def named(said: str) -> Named:
    """Return which package and version a name means: each kind of package spells its own in one way.

    Args:
        said: a package URL, or whatever somebody wrote for one.
    """
    try:
        url = PackageURL.from_string(said.strip())
    except ValueError:
        return Named(said.strip().casefold(), "")
    # What qualifies it (architecture, where it is fetched from) and what lies within it make no other package.
    return Named(PackageURL(url.type, url.namespace, url.name).to_string(), url.version or "")


def versioned(said: str, version: str) -> str:
    """Return a package URL that says which version, where it did not; anything else as it is.

    Args:
        said: a package URL, or whatever somebody wrote for one; hostile.
        version: which is meant; empty if none is said.
    """
    try:
        url = PackageURL.from_string(said.strip())
        return said if url.version or not version else url._replace(version=version).to_string()
    except ValueError:
        return said
