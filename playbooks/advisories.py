"""What is published of vulnerabilities in MCP servers; `advisories.yaml` beside this file is the data.

It says what is known and no more: nothing is done because of it, people read it beside what an alert says.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from playbooks.errors import Misconfigured
from playbooks.strict import Line, Name, Strict, parse_yaml

_FILE: Final = "advisories.yaml"
UNKNOWN: Final = "unknown"


class Advisory(Strict):
    """What is published of one vulnerability; whatever nobody knows of it is `unknown`.

    Args:
        id: its CVE.
        product: what has it.
        does: what goes wrong, as a clause.
        tools: those of the product that it is in.
        weakness: its kind, as CWE numbers them.
        score: how bad it is, by CVSS.
        package: where it is had from, as a package URL without a version.
        affected: which versions have it.
        fixed: the first version that has it no more.
        confirmed: whether OSV or NVD says the same.
    """

    id: Annotated[str, StringConstraints(pattern=r"^CVE-[0-9]{4}-[0-9]{4,}$")]
    product: Line
    does: Line
    tools: tuple[Name, ...]
    weakness: Line
    score: Line
    package: Line
    affected: Line
    fixed: Line
    confirmed: bool

    def __str__(self) -> str:
        where = "a product that is not named" if self.product == UNKNOWN else self.product
        doubt = "" if self.confirmed else ", not confirmed"
        return f"{self.id}, in {where}: {self.does} (score {self.score}{doubt}; affected: {self.affected}). {self._due}"

    @property
    def _due(self) -> str:
        if self.fixed != UNKNOWN:
            return f"Fixed in {self.fixed}: until that is in, keep contained what has it."
        if self.tools:
            return f"No fix is known: keep {', '.join(self.tools)} disabled until there is one."
        return "No fix is known: keep the tool disabled that it is in, or the server shut off, until there is one."


class _Advisories(Strict):
    advisories: Annotated[tuple[Advisory, ...], Field(min_length=1)]


@cache
def load() -> Mapping[str, Advisory]:
    """Return what ships with this version, by CVE in small letters; it is read once per process.

    Raises:
        Misconfigured: the file was edited into something that cannot be read.
    """
    return parse(files("playbooks").joinpath(_FILE).read_text(encoding="utf-8"))


def parse(text: str) -> Mapping[str, Advisory]:
    """Return what the text of an `advisories.yaml` states.

    Args:
        text: the whole file.

    Raises:
        Misconfigured: what is wrong with it, by line or by field.
    """
    found: dict[str, Advisory] = {}
    for index, one in enumerate(parse_yaml(_Advisories, text, file=_FILE).advisories):
        if one.id.casefold() in found:
            raise Misconfigured(f"{one.id} stands here twice", file=_FILE, field=f"advisories.{index}.id")
        found[one.id.casefold()] = one
    return MappingProxyType(found)


def named(vulnerabilities: Iterable[str]) -> Iterator[Advisory]:
    """Yield what is published of vulnerabilities, of which anybody may say any name.

    Args:
        vulnerabilities: as alerts name them.
    """
    known = load()
    yield from (known[one.casefold()] for one in vulnerabilities if one.casefold() in known)
