"""The classes of incident: what each is called, what it is about, and what the known frameworks call it.

`taxonomy.yaml` beside this file is the data. It cannot disagree with the code that relies on it: `load` refuses a file
in which a class of `IncidentClass` is missing, an id is used twice, or a mapping names an id that its framework, in the
edition stated there, does not list.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import IntEnum, StrEnum
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, StringConstraints, model_validator

from playbooks.errors import Misconfigured
from playbooks.strict import Line, Name, Strict, parse_yaml

_FILE = "taxonomy.yaml"


class IncidentClass(StrEnum):
    """What kind of incident it is. Decides the playbook, the mode of the gate and the name of the flow."""

    TOOL_POISONING = "tool_poisoning"
    UNAUTHORIZED_ACCESS = "unauthorized_access"
    DATA_EXFILTRATION = "data_exfiltration"
    SERVER_COMPROMISE = "server_compromise"
    DENIAL_OF_SERVICE = "denial_of_service"
    SERVER_SPOOFING = "server_spoofing"
    COMMAND_AND_CONTROL = "command_and_control"
    SUPPLY_CHAIN = "supply_chain"
    PROMPT_INJECTION = "prompt_injection"
    INSECURE_CONFIGURATION = "insecure_configuration"
    IDE_LAYER = "ide_layer"
    TOOL_MISUSE = "tool_misuse"
    UNCLASSIFIED = "unclassified"

    @property
    def actionable(self) -> bool:
        """Whether anything may be done about it. `unclassified` waits for a person; no data file can change that."""
        return self is not IncidentClass.UNCLASSIFIED


class EntityKind(StrEnum):
    """What an incident can be about."""

    TOOL = "tool"
    PROMPT = "prompt"
    RESOURCE = "resource"
    TOKEN = "token"  # noqa: S105  # a kind, not a secret
    PRINCIPAL = "principal"
    SERVER = "server"
    IMAGE = "image"
    PACKAGE = "package"
    WORKLOAD = "workload"
    HOST = "host"
    CLOUD_RESOURCE = "cloud_resource"
    ADDRESS = "address"
    WORKSPACE = "workspace"


class MarkKind(StrEnum):
    """What alerts about different things can have in common, and no inventory knows."""

    INDICATOR = "indicator"
    DIGEST = "digest"
    VULNERABILITY = "vulnerability"
    TEXT = "text"


class Severity(IntEnum):
    """How bad it is. Each inbound format maps its own scale to this one."""

    INFORMATIONAL = 1
    LOW = 2
    MEDIUM = 3
    HIGH = 4
    CRITICAL = 5

    @property
    def label(self) -> str:
        """The word that people read, and that `taxonomy.yaml` is written with."""
        return self.name.lower()


class Impact(StrEnum):
    """The worst that is to be expected for one property of what we protect. `unknown` is not `none`."""

    UNKNOWN = "unknown"
    NONE = "none"
    LOW = "low"
    MODERATE = "moderate"
    HIGH = "high"


def _severity(word: object) -> object:
    if not isinstance(word, str):
        return word
    words = {member.label: member for member in Severity}
    if word not in words:
        raise ValueError(f"write one of {', '.join(words)}")
    return words[word]


_Text = Annotated[Line, Field(min_length=1)]
_Titles = Annotated[
    Mapping[Name, Name], Field(min_length=1), AfterValidator(MappingProxyType), PlainSerializer(dict[str, str])
]


class Framework(Strict):
    """One edition of one framework, and the titles of its ids that this taxonomy may use."""

    name: Name
    edition: Name
    title: Name
    source: Annotated[str, StringConstraints(pattern=r"^https://\S+$")]
    ids: _Titles


class Frameworks(Strict):
    """Every framework that a class is mapped to, each in exactly one edition."""

    owasp_mcp: Framework
    owasp_asi: Framework
    atlas: Framework
    attack: Framework
    cosai: Framework
    maestro: Framework
    safe_mcp: Framework
    stride: Framework
    nist_800_53: Framework
    nist_800_207: Framework


class Mappings(Strict):
    """The ids of each framework for one class or variant. An empty tuple says that the framework has none for it."""

    owasp_mcp: tuple[str, ...]
    owasp_asi: tuple[str, ...]
    atlas: tuple[str, ...]
    attack: tuple[str, ...]
    cosai: tuple[str, ...]
    maestro: tuple[str, ...]
    safe_mcp: tuple[str, ...]
    stride: tuple[str, ...]
    nist_800_53: tuple[str, ...]
    nist_800_207: tuple[str, ...]


class CiaImpact(Strict):
    """What is at stake, property by property."""

    confidentiality: Impact
    integrity: Impact
    availability: Impact


class Variant(Strict):
    """A named way in which an incident of a class happens. Its mappings stand instead of those of the class."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z]+(_[a-z]+)*$")]
    title: Name
    summary: _Text
    mappings: Mappings


class ClassEntry(Strict):
    """One class of incident.

    Args:
        id: the class.
        title: in few words.
        summary: what happens.
        severity: how bad it usually is.
        entities: what it is about, the most specific first.
        meets: at what its alerts meet, so that they are one incident: the first of these that an alert names. A tool's
            server counts as named, and so does a token's principal. What no inventory knows (an indicator, a digest, an
            injected text) is what alerts meet at that name nothing known; its sender chooses it.
        impact: what is at stake.
        mappings: what frameworks call it.
        variants: named ways in which it happens.
    """

    id: IncidentClass
    title: Name
    summary: _Text
    severity: Annotated[Severity, BeforeValidator(_severity)]
    entities: Annotated[tuple[EntityKind, ...], Field(min_length=1)]
    meets: Annotated[tuple[EntityKind | MarkKind, ...], Field(min_length=1)]
    impact: CiaImpact
    mappings: Mappings
    variants: tuple[Variant, ...]


class Taxonomy(Strict):
    """All classes, and the frameworks in whose ids they are expressed."""

    frameworks: Frameworks
    classes: tuple[ClassEntry, ...]

    def of(self, incident_class: str) -> ClassEntry:
        """Return the entry of a class.

        Args:
            incident_class: a member of `IncidentClass`, or its value.

        Raises:
            Misconfigured: there is no such class; the message lists those there are.
        """
        for entry in self.classes:
            if entry.id == incident_class:
                return entry
        known = ", ".join(IncidentClass)
        raise Misconfigured(f"no incident class is called {incident_class!r}; there are: {known}", field="class")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _refuse_repeats((entry.id for entry in self.classes), field="classes")
        if missing := [member for member in IncidentClass if all(entry.id != member for entry in self.classes)]:
            raise Misconfigured(f"write an entry for {', '.join(missing)}", file=_FILE, field="classes")
        names = itertools.chain(IncidentClass, (variant.id for entry in self.classes for variant in entry.variants))
        _refuse_repeats(names, field="variants")
        for entry in self.classes:
            field = f"classes.{entry.id}"
            _refuse_repeats(entry.entities, field=f"{field}.entities")
            _refuse_repeats(entry.meets, field=f"{field}.meets")
            self._refuse_undeclared(entry.mappings, field=f"{field}.mappings")
            for variant in entry.variants:
                self._refuse_undeclared(variant.mappings, field=f"{field}.variants.{variant.id}.mappings")
        return self

    def _refuse_undeclared(self, mappings: Mappings, *, field: str) -> None:
        for name, ids in mappings:
            _refuse_repeats(ids, field=f"{field}.{name}")
            framework: Framework = getattr(self.frameworks, name)
            if unknown := [one for one in ids if one not in framework.ids]:
                message = f"{', '.join(unknown)} is not in frameworks.{name}.ids ({framework.name} {framework.edition})"
                raise Misconfigured(message, file=_FILE, field=f"{field}.{name}")


@cache
def load() -> Taxonomy:
    """Return the taxonomy that ships with this version; it is read once per process.

    Raises:
        Misconfigured: `taxonomy.yaml` was edited into something that contradicts itself.
    """
    return parse(files("playbooks").joinpath(_FILE).read_text(encoding="utf-8"))


def parse(text: str) -> Taxonomy:
    """Return the taxonomy that the text of a `taxonomy.yaml` states.

    Args:
        text: the whole file.

    Raises:
        Misconfigured: what is wrong with it, by line or by field.
    """
    return parse_yaml(Taxonomy, text, file=_FILE)


def _refuse_repeats(values: Iterable[str], *, field: str) -> None:
    if twice := [value for value, count in Counter(values).items() if count > 1]:
        raise Misconfigured(f"{', '.join(twice)} stands here more than once", file=_FILE, field=field)
