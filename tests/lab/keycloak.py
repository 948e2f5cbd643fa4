"""A real Keycloak on loopback, its database in memory, for tests that disable users and end their sessions.

`python -m tests.lab.keycloak` gets the pinned release with Maven and builds it, once, outside the repository. It needs
Java 17 or newer.
"""

import hashlib
import secrets
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from flows.demo.processes import child, environment, free_port
from integrations.identity.provider import Identity
from integrations.systems.keycloak import Keycloak
from tests.lab.cache import place
from tests.lab.oidc import kept

VERSION = "26.5.6"
DIGEST = "490189d9dff05272432d51f71a069462eeca97f2920a694d539a1e6c26a5a347"
"""SHA-256 of the distribution."""

REALM, US, AGENT = "lab", "responder", "agent"
RIGHTS = ("view-users", "manage-users", "view-clients", "manage-clients")
"""What our client is let do in that realm."""

_BUILT = ("--db=dev-mem",)


def _folder() -> Path:
    return place("keycloak", DIGEST.encode())


def installed() -> Path | None:
    """Return the folder that it is built in, None if it is not."""
    folder = _folder()
    return folder if (folder / "installed").exists() and shutil.which("java") else None


def install() -> str:
    """Get and build it if that was not done; return what went wrong, or nothing."""
    if installed():
        return ""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    folder = _folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Put in place as a whole: two that install at once do not meet.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="installing-") as made:
        wanted = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
        maven = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={wanted}", f"-DoutputDirectory={made}"]
        if wrong := _run(maven, Path(made)):
            return wrong
        (archive,) = Path(made).glob("*.zip")
        if hashlib.sha256(archive.read_bytes()).hexdigest() != DIGEST:
            return f"{archive.name} is not what was pinned"
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(made)
        archive.unlink()
        home = Path(made) / f"keycloak-{VERSION}"
        # Its scripts come without their run bit.
        if wrong := _run(["bash", str(home / "bin" / "kc.sh"), "build", *_BUILT], home):
            return wrong
        (home / "installed").touch()
        if not folder.exists():
            shutil.move(home, folder)
    return ""


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)  # noqa: S603  # of our own making
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip()[-500:] or f"{command[0]} failed"


@dataclass(frozen=True)
class RunningKeycloak:
    """A Keycloak that answers, with the realm `lab`.

    Args:
        url: its address.
        password: its administrator's.
        secret: our client's, and the agent's.
    """

    url: str
    password: str
    secret: str

    @property
    def issuer(self) -> str:
        """The realm's."""
        return f"{self.url}/realms/{REALM}"

    def admin(self, method: str, path: str, body: object = None, *, realm: str = f"/{REALM}") -> Any:  # noqa: ANN401  # JSON
        """Ask the administration, as its administrator."""
        form = {"grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": self.password}
        token = _post(f"{self.url}/realms/master/protocol/openid-connect/token", form)["access_token"]
        url = f"{self.url}/admin/realms{realm}{path}"
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.request(method, url, json=body, headers=headers, timeout=300, trust_env=False)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def grant(self, **form: str) -> dict[str, Any]:
        """Ask for a token as the agent's client."""
        own = {"client_id": AGENT, "client_secret": self.secret}
        return _post(f"{self.issuer}/protocol/openid-connect/token", {**own, **form})

    def user(self, name: str) -> str:
        """Make a user; return its id."""
        credentials = [{"type": "password", "value": name, "temporary": False}]
        about = {"email": f"{name}@example.com", "firstName": "A", "lastName": "B", "emailVerified": True}
        self.admin("POST", "/users", {"username": name, "enabled": True, "credentials": credentials, **about})
        (found,) = self.admin("GET", f"/users?exact=true&username={name}")
        return str(found["id"])

    def signed_in(self, name: str, *, offline: bool = False) -> dict[str, Any]:
        """Sign a user in; return its tokens."""
        scope = "openid offline_access" if offline else "openid"
        return self.grant(grant_type="password", username=name, password=name, scope=scope)

    def service(self, folder: Path, name: str, *, access: str = "access") -> Identity:
        """Make a client that acts for itself; return its place there, with a token that it was issued.

        Args:
            folder: for the secrets.
            name: what it is called.
            access: what the token is called.
        """
        self.admin("POST", "/clients", {"clientId": name, "secret": self.secret, "serviceAccountsEnabled": True})
        issued = self.grant(grant_type="client_credentials", client_id=name)
        return Identity.model_validate(
            {
                "user": name,
                "client": name,
                "secret": kept(folder, name, self.secret),
                "held": {access: kept(folder, f"{name}-{access}", issued["access_token"])},
            }
        )

    def settings(self, folder: Path) -> Keycloak:
        """Return how an inventory lists it; our secret is in a folder."""
        return Keycloak(kind="keycloak", issuer=self.issuer, client=US, secret=kept(folder, US, self.secret))

    def active(self, token: str) -> bool:
        """Return whether it takes a token for one that is in use."""
        form = {"client_id": US, "client_secret": self.secret, "token": token}
        return bool(_post(f"{self.issuer}/protocol/openid-connect/token/introspect", form)["active"])

    def account(self, folder: Path, name: str, *, access: str = "access", refresh: str = "laptop") -> Identity:
        """Make a user; return its place there, signed in twice: with a session, and with one that goes on offline.

        Args:
            folder: for the secrets.
            name: what it signs in as.
            access: what the access token is called.
            refresh: the refresh token of the session; that of the other one is called `phone`.
        """
        user = self.user(name)
        online, offline = self.signed_in(name), self.signed_in(name, offline=True)
        return Identity.model_validate(
            {
                "user": user,
                "client": AGENT,
                "secret": kept(folder, AGENT, self.secret),
                "held": {access: kept(folder, f"{name}-{access}", online["access_token"])},
                "refresh": {
                    refresh: kept(folder, f"{name}-{refresh}", online["refresh_token"]),
                    "phone": kept(folder, f"{name}-phone", offline["refresh_token"]),
                },
            }
        )


def _post(url: str, form: dict[str, str]) -> dict[str, Any]:
    answer = httpx.post(url, data=form, timeout=300, trust_env=False)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


@contextmanager
def keycloak(folder: Path) -> Iterator[RunningKeycloak]:
    """Run it on a free port, and make its realm.

    Args:
        folder: for its log.

    Raises:
        LookupError: it is not installed.
    """
    home = installed()
    if home is None:
        message = "Keycloak is not installed (make programs; python -m tests.lab.keycloak says why)"
        raise LookupError(message)
    port, password = free_port(), secrets.token_urlsafe(16)
    running = RunningKeycloak(f"http://127.0.0.1:{port}", password, secrets.token_urlsafe(24))

    def answers() -> bool:
        try:
            return httpx.get(f"{running.url}/realms/master", timeout=5, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    listens = [f"--http-port={port}", "--http-host=127.0.0.1", "--http-enabled=true", "--hostname-strict=false"]
    command = ["bash", str(home / "bin" / "kc.sh"), "start", "--optimized", "--cache=local", *listens]
    # It lives for minutes: what makes it fast later only makes it start late, on two cores that others use as well.
    quick = "-XX:TieredStopAtLevel=1"
    admin = {"KC_BOOTSTRAP_ADMIN_USERNAME": "admin", "KC_BOOTSTRAP_ADMIN_PASSWORD": password}
    env = environment(**admin, JAVA_OPTS_APPEND=quick)
    with child(command, log=folder / "keycloak.log", ready=answers, within=300, env=env, grace=60.0):
        _make_realm(running)
        yield running


def _make_realm(running: RunningKeycloak) -> None:
    running.admin("POST", "", {"realm": REALM, "enabled": True, "sslRequired": "none"}, realm="")
    client = {"secret": running.secret, "serviceAccountsEnabled": True, "standardFlowEnabled": False}
    for more in ({"clientId": US}, {"clientId": AGENT, "directAccessGrantsEnabled": True}):
        running.admin("POST", "/clients", {**client, **more})
    (responder,) = running.admin("GET", f"/clients?clientId={US}")
    account = running.admin("GET", f"/clients/{responder['id']}/service-account-user")
    (management,) = running.admin("GET", "/clients?clientId=realm-management")
    roles = [running.admin("GET", f"/clients/{management['id']}/roles/{right}") for right in RIGHTS]
    running.admin("POST", f"/users/{account['id']}/role-mappings/clients/{management['id']}", roles)


if __name__ == "__main__":
    if wrong := install():
        print(f"Keycloak could not be installed, so its tests will be skipped: {wrong}", file=sys.stderr)  # noqa: T201  # a program
    sys.exit(bool(wrong))
