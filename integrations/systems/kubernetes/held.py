"""Which secrets a server's pods hold, by name: whoever has the server has had each of them.

It goes by what is written of the pods, and reads none. What a program fetches by itself stands nowhere there.

Source: Kubernetes API reference v1.36, PodSpec (volumes, env, envFrom, imagePullSecrets), ServiceAccount.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from integrations.hostile import printable

Raw = Mapping[str, Any]

_KINDS: Final = ("initContainers", "containers", "ephemeralContainers")
_NAMED_SO: Final = re.compile(
    r"api.?key|auth|cert|conn|cookie|cred|dsn|jwt|key$|pass|pat$|priv|pwd|salt|secret|sign|token|ur[il]$", re.IGNORECASE
)
"""Variables whose value may be one, though it is written where everybody reads it."""

_REFERENCES: Final = frozenset({"nodePublishSecretRef", "secretRef"})
CLOUDS: Final = ("eks.amazonaws.com/role-arn", "iam.gke.io/gcp-service-account", "azure.workload.identity/client-id")
"""Annotations by which a cloud takes an account's tokens, and asks no cluster whether they still count."""


def secrets(pods: Iterable[Raw], accounts: Iterable[Raw]) -> list[str]:
    """Return each secret that pods hold, and how, in words.

    Args:
        pods: as the API server has them, or the template that they are made of.
        accounts: the service accounts of their namespace.
    """
    known = {str(one["metadata"]["name"]): one for one in accounts}
    found: dict[str, None] = {}
    for pod in pods:
        spec = pod.get("spec") or {}
        found.update(dict.fromkeys(_of_pod(spec)))
        found.update(dict.fromkeys(_of_account(spec, known)))
    return sorted(printable(one, 500) for one in found)


def _of_pod(spec: Raw) -> Iterator[str]:
    for volume in spec.get("volumes") or ():
        yield from (f"{one}, mounted as volume {volume.get('name')}" for one in _mounted(volume))
    for kind in _KINDS:
        for container in spec.get(kind) or ():
            yield from (f"{one} of container {container.get('name')}" for one in _variables(container))
    yield from (
        f"secret {one.get('name')}, with which its images are pulled" for one in spec.get("imagePullSecrets") or ()
    )


def _mounted(volume: Raw) -> Iterator[str]:
    # A token that the cluster issues to the pod is the account's: see there.
    for sort, given in volume.items():
        if not isinstance(given, Mapping):
            continue
        if name := given.get("secretName"):
            yield f"secret {name}"
        yield from (f"secret {given[one].get('name')}" for one in sorted(_REFERENCES & given.keys()))
        for source in given.get("sources") or ():
            if "secret" in source:
                yield f"secret {source['secret'].get('name')}"
            if (token := source.get("serviceAccountToken")) and token.get("audience"):
                yield f"a token of its account for {token['audience']}"
        if sort == "csi" and (provider := (given.get("volumeAttributes") or {}).get("secretProviderClass")):
            yield f"what SecretProviderClass {provider} fetches ({given.get('driver')})"


def _variables(container: Raw) -> Iterator[str]:
    for one in container.get("envFrom") or ():
        if "secretRef" in one:
            yield f"secret {one['secretRef'].get('name')}, each key of it a variable"
    for one in container.get("env") or ():
        name = one.get("name", "")
        if source := (one.get("valueFrom") or {}).get("secretKeyRef"):
            yield f"key {source.get('key')} of secret {source.get('name')}, as variable {name}"
        elif one.get("value") and _NAMED_SO.search(name):
            yield f"variable {name}, whose value is written in the workload (if it is a secret)"


def _of_account(spec: Raw, known: Mapping[str, Raw]) -> Iterator[str]:
    name = spec.get("serviceAccountName") or "default"
    account = known.get(name, {})
    mounts = spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken", True))
    if mounts is not False:
        yield f"the token of service account {name}"
    notes = (account.get("metadata") or {}).get("annotations") or {}
    yield from (f"what its cloud gives service account {name}: {notes[key]}" for key in CLOUDS if key in notes)
    yield from (f"secret {one.get('name')}, of service account {name}" for one in account.get("secrets") or ())
    yield from (
        f"secret {one.get('name')}, with which images of service account {name} are pulled"
        for one in account.get("imagePullSecrets") or ()
    )
