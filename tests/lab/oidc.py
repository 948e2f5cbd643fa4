"""A real identity provider on loopback, the npm package oidc-provider, for tests that revoke tokens.

`python -m tests.lab.oidc` installs the locked release with npm, once for each lock, outside the repository.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from flows.demo.processes import child, environment, free_port
from integrations.identity.provider import Identity, Provider
from playbooks.estate.systems import Secret
from tests.lab import npm

HERE = Path(__file__).with_name("oidc_provider")
NAME = "oidc-provider"
US, AGENT, OTHER = "responder", "agent", "other"
"""Its clients: ours, whom principals come with, and a stranger."""


def secret_of(client: str) -> str:
    """Return a client's secret."""
    return "-".join([client, "secret"] * 3)


@dataclass(frozen=True)
class RunningProvider:
    """A provider that answers.

    Args:
        issuer: its address.
    """

    issuer: str

    def _ask(self, path: str, body: object = None) -> Any:  # noqa: ANN401  # JSON
        return httpx.post(f"{self.issuer}/lab/{path}", json=body or {}, timeout=60, trust_env=False).json()

    def issue(self, subject: str, *, client: str = AGENT, scope: str = "openid offline_access") -> dict[str, str]:
        """Return an access and a refresh token of one grant, as if somebody had signed in."""
        issued: dict[str, str] = self._ask("issue", {"sub": subject, "client_id": client, "scope": scope})
        return issued

    def lies(self, **answers: Any) -> None:  # noqa: ANN401  # as the script reads them
        """Have it answer by path without doing anything; every other lie ends, and what it was asked is forgotten."""
        self._ask("lies", {f"/{path.replace('__', '/')}": answer for path, answer in answers.items()})

    @property
    def seen(self) -> list[str]:
        """What it was asked since."""
        seen: list[str] = self._ask("seen")
        return seen

    def active(self, token: str) -> bool:
        """Return whether the provider takes a token for one that is in use."""
        found = httpx.post(
            f"{self.issuer}/token/introspection",
            data={"token": token},
            auth=(US, secret_of(US)),
            timeout=60,
            trust_env=False,
        )
        return bool(found.json()["active"])

    def settings(self, folder: Path) -> Provider:
        """Return how an inventory lists it; our secret is in a folder."""
        return Provider(kind="oidc", issuer=self.issuer, client=US, secret=kept(folder, US, secret_of(US)))

    def account(self, folder: Path, user: str, *, access: str = "access", refresh: str = "laptop") -> Identity:
        """Return a user's place there, with both tokens of a grant held in a folder.

        Args:
            folder: for the secrets.
            user: the subject.
            access: what the access token is called.
            refresh: likewise.
        """
        issued = self.issue(user)
        return Identity.model_validate(
            {
                "user": user,
                "client": AGENT,
                "secret": kept(folder, AGENT, secret_of(AGENT)),
                "held": {access: kept(folder, f"{user}-{access}", issued["access_token"])},
                "refresh": {refresh: kept(folder, f"{user}-{refresh}", issued["refresh_token"])},
                "resource": f"{self.issuer}/mcp",
            }
        )


def kept(folder: Path, name: str, text: str) -> Secret:
    """Put a secret into a file of its own, and return where it is."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / name
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
    return Secret(file=str(file))


@contextmanager
def provider(folder: Path) -> Iterator[RunningProvider]:
    """Run the provider on a free port.

    Args:
        folder: for its log.

    Raises:
        LookupError: Node or the package is not installed.
    """
    packages, node = npm.installed(HERE, NAME), shutil.which("node")
    if packages is None or node is None:
        message = "Node and oidc-provider are not installed (make programs; python -m tests.lab.oidc)"
        raise LookupError(message)
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            found = httpx.get(f"{issuer}/.well-known/openid-configuration", timeout=20, trust_env=False)
        except httpx.HTTPError:
            return False
        return found.is_success

    command = [node, str(HERE / "provider.mjs"), str(packages), str(port)]
    with child(command, log=folder / "provider.log", ready=answers, within=120, env=environment()):
        yield RunningProvider(issuer)


if __name__ == "__main__":
    if wrong := npm.install(HERE, NAME):
        print(f"oidc-provider could not be installed, so its tests will be skipped: {wrong}", file=sys.stderr)  # noqa: T201  # a program
    sys.exit(bool(wrong))
