"""What a probe may find, as data: how it should be, how grave it is, and what to do about it."""

from dataclasses import dataclass
from enum import Enum

from integrations.hostile import printable
from playbooks.record.check import About, Found
from playbooks.record.trust import AUTHENTICATION
from playbooks.taxonomy import EntityKind, IncidentClass, Severity

_LONG = 200
"""Characters of what was observed."""


@dataclass(frozen=True)
class Kind:
    """One sort of fault.

    Args:
        what: which property, for people.
        expected: what it should be.
        severity: how grave; what is of low severity is shown, and nobody is told of it.
        remedy: what to do.
        incident_class: what an alert of it is.
    """

    what: str
    expected: str
    severity: Severity
    remedy: str
    incident_class: IncidentClass = IncidentClass.INSECURE_CONFIGURATION


class Fault(Enum):
    """Every sort of fault that probing knows."""

    OPEN = Kind(
        AUTHENTICATION,
        "asked for",
        Severity.HIGH,
        "have it take a token of its own, or write `open: true` into its `probing` if anybody may use it",
    )
    CALLS = Kind(
        "tools/call without credentials",
        "refused",
        Severity.HIGH,
        "have it ask for a token at every method, not only where it lists",
    )
    RUNS = Kind(
        "a call of a tool that it does not have",
        "refused",
        Severity.HIGH,
        "what takes every name is not the server that you know: see who answers at its address",
        IncidentClass.SERVER_SPOOFING,
    )
    ELSEWHERE = Kind(
        "its address",
        "answered there",
        Severity.HIGH,
        "see who sends its clients away; if it moved, write the new address into inventory.yaml",
        IncidentClass.SERVER_SPOOFING,
    )
    CHALLENGE = Kind(
        "the challenge in its refusal",
        "a WWW-Authenticate header",
        Severity.LOW,
        "have it say how clients sign in (RFC 9728, 5.1)",
    )
    TRACE = Kind(
        "its answer to a bad request",
        "an error without the program's insides",
        Severity.MEDIUM,
        "switch debugging off there: a stack trace tells an attacker what to try next",
    )
    BREAKS = Kind(
        "its answer to a bad request",
        "a refusal (4xx, or an error of JSON-RPC)",
        Severity.LOW,
        "have it refuse what it cannot read",
    )
    DIES = Kind(
        "half a request",
        "refused",
        Severity.HIGH,
        "start it again, and have it read requests so that none of them ends it",
    )
    TAKES = Kind(
        "a request that is no JSON",
        "refused",
        Severity.MEDIUM,
        "see what reads requests there: it guesses",
    )
    ORIGIN = Kind(
        "a request from a strange web page",
        "refused (403)",
        Severity.MEDIUM,
        "have it check Origin: any page in a browser beside it may use it (DNS rebinding)",
    )
    READABLE = Kind(
        "Access-Control-Allow-Origin",
        "known pages alone",
        Severity.MEDIUM,
        "name the pages that may read it",
    )
    TOKEN = Kind(
        "a token that nobody issued",
        "refused (401)",
        Severity.CRITICAL,
        "have it check signature, issuer, audience and end of every token",
    )
    FOREIGN = Kind(
        "a token for somebody else",
        "refused (401)",
        Severity.HIGH,
        "have it take tokens for its own address alone (RFC 8707): whoever is sent one elsewhere can use it here",
    )
    EXPIRED = Kind(
        "a token that has ended",
        "refused (401)",
        Severity.HIGH,
        "have it look at the end of every token",
    )
    REVOKED = Kind(
        "a token that was revoked",
        "refused (401)",
        Severity.MEDIUM,
        "have it ask the provider (introspection), or have tokens that are good for minutes alone",
    )
    NO_LIMIT = Kind(
        "how much it takes",
        "refused at some point (429)",
        Severity.MEDIUM,
        "put a limit before it, at the gateway or in the server",
    )
    CLEAR = Kind(
        "transport",
        "TLS",
        Severity.HIGH,
        "serve it over https, and write that address into inventory.yaml",
    )
    OLD_TLS = Kind(
        "TLS version",
        "the one in inventory.yaml or newer",
        Severity.MEDIUM,
        "switch the older versions off there",
    )
    CERTIFICATE = Kind(
        "certificate",
        "the pinned one",
        Severity.HIGH,
        "ask its owner whether it was renewed; if so, pin the new one, and if not, somebody stands between",
        IncidentClass.SERVER_SPOOFING,
    )
    UNTRUSTED = Kind(
        "certificate",
        "one that an authority vouches for",
        Severity.HIGH,
        "get it one, or pin it: servers.NAME.probing.certificate in inventory.yaml",
    )
    ENDS = Kind(
        "certificate's end",
        "more than two weeks away",
        Severity.LOW,
        "renew it, and pin the new one",
    )
    NO_METADATA = Kind(
        "protected resource metadata",
        "served (RFC 9728)",
        Severity.LOW,
        "have it say which authorization server its tokens come from",
    )
    OTHER_RESOURCE = Kind(
        "protected resource metadata",
        "of its own address",
        Severity.MEDIUM,
        "have it name its own address: tokens are asked for what stands there",
    )
    STRANGE_PROVIDER = Kind(
        "where it has people sign in",
        "a provider of inventory.yaml",
        Severity.HIGH,
        "list the provider under `systems` if it is yours; if not, people sign in at somebody else's",
        IncidentClass.SERVER_SPOOFING,
    )
    REDIRECT = Kind(
        "a redirect URI that nobody registered",
        "refused",
        Severity.HIGH,
        "have the provider compare redirect URIs to the character",
    )
    NO_PKCE = Kind(
        "a sign-in without a PKCE challenge",
        "refused",
        Severity.MEDIUM,
        "have the provider require S256 of that client",
    )

    NO_MANIFEST = Kind(
        "signed manifest",
        "served, and signed by a pinned key",
        Severity.MEDIUM,
        "see with its owner where it is now: servers.NAME.probing.manifest.path in inventory.yaml",
    )
    BAD_MANIFEST = Kind(
        "signed manifest",
        "signed by a pinned key",
        Severity.HIGH,
        "ask its owner whether the key is another one; if so, pin that, and if not, somebody else wrote it",
        IncidentClass.SERVER_SPOOFING,
    )
    OTHER_MANIFEST = Kind(
        "signed manifest",
        "of what is offered",
        Severity.HIGH,
        "compare with `mcp-soar pins diff NAME`, and ask its owner which of both is right",
        IncidentClass.TOOL_POISONING,
    )

    def of(self, server: str, observed: str) -> Found:
        """Return that a server has it.

        Args:
            server: as the inventory names it.
            observed: what it is, after the word *is*; may be hostile.
        """
        kind, observed = self.value, printable(observed, _LONG)
        subject = f"server {server}"
        return Found(
            id=f"{subject}/{self.name}",
            subject=subject,
            what=kind.what,
            expected=kind.expected,
            observed=observed,
            severity=kind.severity,
            incident_class=kind.incident_class,
            remedy=kind.remedy.replace("NAME", server),
            # Not with what was observed: that is the server's to choose, and each choice would be news.
            state=f"{subject}\n{self.name}",
            rule=f"Probe: {kind.what}"[:200],
            about=(About(EntityKind.SERVER, server),),
            tells=kind.severity >= Severity.MEDIUM,
        )
