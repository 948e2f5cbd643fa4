"""How an image of a container is named, and when two names mean one image. Pure.

Source: distribution/reference v0.6, `grammar` and `ParseNormalizedNamed`, by which kubelet and container runtime read
what stands in a pod. Whatever it does not read, they do not run.
"""

import re
from typing import Final, NamedTuple

HUB: Final = "docker.io"
HUBS: Final = (HUB, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")
"""Docker Hub: the first two are one by the grammar, the others are hosts that serve the same."""

PORTS: Final = r"0*(?:80|443)"
"""What a registry's port is if none is said, as it may be written."""

_LIBRARY: Final = "library/"
"""Where Docker Hub has what is named without an owner."""

_WORD: Final = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_PART: Final = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_NAME: Final = re.compile(
    rf"(?:(?P<registry>{_WORD}(?:\.{_WORD})*(?::[0-9]+)?|\[[a-fA-F0-9:]+\](?::[0-9]+)?)/)?"
    rf"(?P<repository>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>[a-zA-Z][a-zA-Z0-9+._-]*:[a-fA-F0-9]+))?"
)


class Reference(NamedTuple):
    """An image, as its one name has it.

    Args:
        registry: where it is: its host in small letters, and its port unless that is the usual one.
        repository: what it is called there.
        tag: which of them; empty if none is said.
        digest: its content, which counts where a tag is said too; empty if none is said.
    """

    registry: str
    repository: str
    tag: str
    digest: str

    @property
    def name(self) -> str:
        """Registry and repository, as people write them."""
        return self.repository.removeprefix(_LIBRARY) if self._short else f"{self._where}{self.repository}"

    @property
    def _where(self) -> str:
        return "" if self.registry == HUB else f"{self.registry}/"

    @property
    def _short(self) -> bool:
        return self.registry == HUB and self.repository.startswith(_LIBRARY) and self.repository.count("/") == 1


def reference(text: str) -> Reference | None:
    """Return the image that a text names; None if nobody calls an image that."""
    found = _NAME.fullmatch(text)
    if found is None:
        return None
    registry, repository = found["registry"] or "", found["repository"]
    if registry and not _is_registry(registry):
        registry, repository = "", f"{registry}/{repository}"
    host = re.sub(rf":{PORTS}$", "", registry.lower())
    host = re.sub(r":0+(?=[0-9])", ":", host)
    if not host or host in HUBS:
        host, repository = HUB, repository if "/" in repository else f"{_LIBRARY}{repository}"
    return Reference(host, repository, found["tag"] or "", found["digest"] or "")


def _is_registry(first: str) -> bool:
    """Whether the first part of a name is a registry, and no owner at Docker Hub."""
    return first == "localhost" or first != first.lower() or bool({".", ":"} & set(first))
