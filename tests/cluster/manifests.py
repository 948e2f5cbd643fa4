"""What kustomize makes of a kustomization that only lists resources and names images; more of it is refused."""

from pathlib import Path
from typing import Any

import yaml

_READ = {"apiVersion", "kind", "resources"}


def built(folder: Path) -> list[dict[str, Any]]:
    """Return the objects of a kustomization, in its order.

    Args:
        folder: where its `kustomization.yaml` is.

    Raises:
        ValueError: it is no such kustomization, or lists what is not there, or leaves out what is.
    """
    head = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    if unread := set(head) - _READ:
        raise ValueError(f"{folder}: {unread} is not read here")
    if head["kind"] != "Kustomization" or head["apiVersion"] != "kustomize.config.k8s.io/v1beta1":
        raise ValueError(f"{folder}: it is no kustomization")
    beside = {path.name for path in folder.iterdir()} - {"kustomization.yaml"}
    if left := beside.symmetric_difference(head["resources"]):
        raise ValueError(f"{folder}: {left} is listed and not there, or there and not listed")
    found: list[dict[str, Any]] = []
    for name in head["resources"]:
        path = folder / name
        found += built(path) if path.is_dir() else yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return found
