"""What a connection to a cluster was asked for, as the permissions that this takes."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from integrations.systems.kubernetes.client import Api
from integrations.systems.kubernetes.rights import Permission

_PATH = re.compile(
    r"(?:/api|/apis/(?P<group>[^/]+))/[^/]+(?:/namespaces/[^/]+)?/(?P<what>[^/]+)(?P<of>/[^/]+)?(?P<sub>/.+)?"
)
_VERBS = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}
_EVERYBODY = ("authentication.k8s.io", "authorization.k8s.io")
_DISCOVERY = re.compile(r"/apis(?:/[^/]+/[^/]+)?")
"""What every account may ask: who it is, what it may, and what there is."""


@contextlib.contextmanager
def asked(api: Api) -> Iterator[set[Permission]]:
    """Yield the permissions that a connection uses within the block."""
    used: set[Permission] = set()
    real = api.ask

    def ask(method: str, path: str, **more: Any) -> Any:  # noqa: ANN401  # as the real one
        if _DISCOVERY.fullmatch(path):
            return real(method, path, **more)
        found = _PATH.fullmatch(path)
        assert found, path
        group, resource = found["group"] or "", found["what"] + (found["sub"] or "")
        verb = _VERBS.get(method) or ("get" if found["of"] else "list")
        if group not in _EVERYBODY:
            used.add(Permission(verb, resource, group))
        return real(method, path, **more)

    api.ask = ask  # type: ignore[method-assign]  # until the block ends
    try:
        yield used
    finally:
        del api.ask
