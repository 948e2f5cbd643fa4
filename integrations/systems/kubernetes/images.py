"""How images are named, and the policy and binding that keep one off a cluster, as they are written.

Source: Kubernetes API reference v1.36, ValidatingAdmissionPolicy; `playbooks.estate.image` on names of images.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any, Final

from integrations.hostile import printable
from playbooks.errors import Refused
from playbooks.estate.image import HUB, HUBS, PORTS, reference

PREFIX: Final = "mcp-soar-deny-"
OURS: Final = {"app.kubernetes.io/managed-by": "mcp-soar"}
IMAGE: Final = "mcp-soar.io/image"
SERVER: Final = "mcp-soar.io/server"

_MOST: Final = 255 + 1 + 128 + 1 + 71
"""Characters of the longest name: of a repository, a tag and a digest."""

DIGEST: Final = re.compile(r"@(sha256:[0-9a-f]{64})$")
_IDS: Final = "sha256:[0-9a-f]+"
BY_ID: Final = "sha256:0123456789ab"
"""A node's image, by its id or how that begins: a kubelet passes it on as it is, and containerd finds it."""

_KINDS: Final = ("containers", "initContainers", "ephemeralContainers")

_OF: Final = "has({0}.jobTemplate) ? {0}.jobTemplate.spec.template.spec : has({0}.template) ? {0}.template.spec : {0}"
_IMAGES: Final = " + ".join(
    f"(has({{0}}.{field}) ? {{0}}.{field}.map(c, c.name + ' ' + ({image})) : [])"
    for field, image in (
        *((kind, 'has(c.image) ? c.image : ""') for kind in _KINDS),
        ("volumes", 'has(c.image) && has(c.image.reference) ? c.image.reference : ""'),
    )
)
"""Every image that a pod's `spec` names, those that it only mounts included, each after the name of what has it.

So a container that is added is another one, even to a pod that has such an image already.
"""


def named_by(spec: dict[str, Any]) -> list[str]:
    """Return the images that a pod's `spec` names, as a policy finds them."""
    own = [one.get("image") or "" for kind in _KINDS for one in spec.get(kind) or ()]
    return [*own, *((one.get("image") or {}).get("reference") or "" for one in spec.get("volumes") or ())]


def spelled(image: str) -> str:
    """Return the pattern that every name of an image has, in the words of RE2, which are Python's too.

    Whoever writes a tag and a digest means by the tag the image of that tag, whatever is pulled: which digests it has,
    nobody here knows all of. What is named by its id is looked up on the node, and nobody here knows whose id it is.

    Args:
        image: by our name, as `known_as` has it.
    """
    digest = DIGEST.search(image)
    if digest:
        return f"(?:[^ ]*{re.escape(digest[0])}|{_IDS})"
    _, registry, repository, tag = _tagged(image)
    host, port = _host(registry)
    where = f"(?i:{re.escape(host)}){f':0*{port}' if port else f'(?::{PORTS})?'}/"
    if registry == HUB:
        where = f"(?:(?i:{'|'.join(map(re.escape, HUBS))})(?::{PORTS})?/)?"
        first, slash, last = repository.partition("/")
        short = slash and first == "library" and "/" not in last
        repository = f"(?:library/)?{re.escape(last)}" if short else re.escape(repository)
    else:
        repository = re.escape(repository)
    at = f":{re.escape(tag)}(?:@[^ ]+)?"
    return f"(?:{where}{repository}{f'(?:{at})?' if tag == 'latest' else at}|{_IDS})"


def spellings(image: str) -> tuple[str, ...]:
    """Return some names of an image, one for each way in which they differ: what is asked, to try its policy.

    Args:
        image: by our name, as `known_as` has it.
    """
    digest = DIGEST.search(image)
    if digest:
        # From any registry: what has the digest is that very thing.
        return image, f"mirror.invalid/any{digest[0]}", f"mirror.invalid/any:1{digest[0]}", BY_ID
    name, registry, repository, tag = _tagged(image)
    host, port = _host(registry)
    names = [name, f"{host.upper()}:{port or 443}/{repository}"]
    if registry == HUB:
        names = [name, repository, *(f"{hub}/{repository}" for hub in HUBS), f"{HUBS[2].upper()}:443/{repository}"]
        names += [f"{hub}/{name}" for hub in HUBS[:2]]
    found = [*(f"{one}:{tag}" for one in names), f"{name}:{tag}@sha256:{'0' * 64}", BY_ID]
    return tuple(dict.fromkeys([*found, *names] if tag == "latest" else found))


def _tagged(image: str) -> tuple[str, str, str, str]:
    """Return name, registry, repository and tag of an image of ours that has no digest."""
    found = reference(image)
    if found is None:
        raise Refused(f"no image is called {printable(image)}")
    return found.name, found.registry, found.repository, found.tag or "latest"


def _host(registry: str) -> tuple[str, str]:
    """Return host and port of a registry, which may be in brackets; no port for the usual one."""
    found = re.fullmatch(r"(.*?)(?::([0-9]+))?", registry)
    return (found[1], found[2] or "") if found else (registry, "")


def known_as(image: str) -> str:
    """Return an image's one name of ours, by its digest if it has one, else by its tag.

    Raises:
        Refused: nobody calls an image that.
    """
    found = reference(image) if len(image) <= _MOST else None
    if found is None or (found.digest and not DIGEST.search(f"@{found.digest}")):
        raise Refused(f"no image is called {printable(image[:_MOST])}")
    return f"{found.name}@{found.digest}" if found.digest else f"{found.name}:{found.tag or 'latest'}"


def id_of(image: str) -> str:
    """Return what an image's policy is called: what has its digest is the same wherever it is taken from."""
    what = DIGEST.search(image)
    return f"{PREFIX}{hashlib.sha256((what[1] if what else image).encode()).hexdigest()[:20]}"


def policy(image: str, server: str) -> dict[str, Any]:
    """Return the policy that keeps an image out.

    What has it already may be changed in all else: labels of a pod, a finalizer, how many there are of it.

    Args:
        image: by its tag, or by its digest, which then counts at any registry.
        server: whose cut it is.
    """
    digest = DIGEST.search(image)
    bad = f"i.matches({json.dumps(f'^[^ ]+ {spelled(image)}$')})"
    rules = (
        ("", "v1", ["pods", "pods/ephemeralcontainers"]),
        ("apps", "v1", ["deployments", "statefulsets", "daemonsets", "replicasets"]),
        ("batch", "v1", ["jobs", "cronjobs"]),
    )
    variables = {
        "spec": _OF.format("object.spec"),
        "images": _IMAGES.format("variables.spec"),
        "earlier": f"oldObject == null ? object.spec : ({_OF.format('oldObject.spec')})",
        "known": f"oldObject == null ? [] : ({_IMAGES.format('variables.earlier')})",
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": id_of(image), "labels": OURS, "annotations": {IMAGE: image, SERVER: server}},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "resourceRules": [
                    {
                        "apiGroups": [group],
                        "apiVersions": [version],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": kinds,
                        "scope": "Namespaced",
                    }
                    for group, version, kinds in rules
                ],
            },
            "variables": [{"name": name, "expression": text} for name, text in variables.items()],
            "validations": [
                {
                    "expression": f"!variables.images.exists(i, {bad} && !(i in variables.known))",
                    "message": f"{digest[1] if digest else image} is contained by mcp-soar: an incident holds it, "
                    "and what is named by an id alone may be it",
                    "reason": "Forbidden",
                }
            ],
        },
    }


def binding(image: str, server: str, spared: Iterable[str]) -> dict[str, Any]:
    """Return what puts the policy into force, everywhere but in some namespaces."""
    # Every namespace has its name as this label, which nobody can change.
    expression = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": sorted(spared)}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": id_of(image), "labels": OURS, "annotations": {IMAGE: image, SERVER: server}},
        "spec": {
            "policyName": id_of(image),
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchExpressions": [expression]}, "matchPolicy": "Equivalent"},
        },
    }
