"""Receiver and responder run on a real cluster from our own image, as the guide has people deploy them.

What it cannot show: that the policies of ours are enforced, which this cluster's network does with none.
"""

import asyncio
import base64
import contextlib
import ipaddress
import json
import os
import secrets
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import make_url

from flows.service.settings import read
from integrations.siem.sending import deliver
from integrations.siem.source import read_keys
from integrations.systems.kubernetes.rights import NAME, WIDE
from integrations.systems.kubernetes.workload import ready
from playbooks.strict import now
from tests.cluster import own_image
from tests.cluster.cluster import Kubernetes
from tests.contract.guides import DOCS
from tests.integrations.systems.kubernetes.test_manifests import OBJECTS, WHERE
from tests.lab.accounts import account
from tests.lab.house import alert
from tests.lab.postgres import PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KUBECTL = """\
#!{python}
import base64, json, sys
from pathlib import Path
words = sys.argv[1:]
if "create" in words:
    name = words[words.index("generic") + 1]
    data = {{}}
    for word in words:
        kind, _, rest = word.partition("=")
        key, _, value = rest.partition("=")
        if kind == "--from-file":
            data[key] = base64.b64encode(Path(value).read_bytes()).decode()
        elif kind == "--from-literal":
            data[key] = base64.b64encode(value.encode()).decode()
    Path(f"secret-{{name}}.json").write_text(json.dumps({{"metadata": {{"name": name}}, "data": data}}))
"""


@asynccontextmanager
async def forwarded(port: int) -> AsyncIterator[int]:
    """Yield a port, on every address of this machine, behind which a port of its loopback is."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    open_now: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            open_now.add(task)
        # It ends with the test, in the middle of whatever goes through.
        with contextlib.suppress(OSError, asyncio.CancelledError), contextlib.closing(writer):
            there, back = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(back):
                await asyncio.gather(pump(reader, back), pump(there, writer))

    # Pods come by the address of their bridge.
    async with await asyncio.start_server(serve, "0.0.0.0", 0) as server:  # noqa: S104  # see above
        yield server.sockets[0].getsockname()[1]
    for task in open_now:
        task.cancel()
    await asyncio.gather(*open_now, return_exceptions=True)


def certificate(folder: Path, address: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    names = [x509.DNSName("receiver"), x509.IPAddress(ipaddress.ip_address(address))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - timedelta(hours=1))
        .not_valid_after(now() + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir()
    (folder / "soar.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "soar.key").write_bytes(private)


class Deployed:
    """What the guide has people do, done in a namespace of a test's.

    Args:
        cluster: where.
        namespace: the test's, in the place of `mcp-soar`.
        folder: where the configuration is, `soar`.
        image: what the parts run.
    """

    def __init__(self, cluster: Kubernetes, namespace: str, folder: Path, image: str) -> None:
        self.cluster, self.namespace, self.folder, self.image = cluster, namespace, folder, image

    def given(self, environment: dict[str, str]) -> None:
        """Make what the parts are given, by the guide's own commands."""
        guide = (DOCS / "production.md").read_text(encoding="utf-8")
        (block,) = [rest.partition("```\n")[2].partition("```")[0] for rest in guide.split("<!-- given: ")[1:]]
        program = self.folder / "bin" / "kubectl"
        program.parent.mkdir()
        program.write_text(KUBECTL.format(python=sys.executable))
        program.chmod(0o700)
        env = {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", **environment}
        subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=self.folder, env=env, check=True)  # noqa: S603, S607  # the guide's
        for file in self.folder.glob("secret-re*er-configuration.json"):
            secret = json.loads(file.read_text())
            self.cluster.ask("POST", f"/api/v1/namespaces/{self.namespace}/secrets", secret)

    def apply(self, kind: str, name: str, **spec: object) -> None:
        """Make an object of the manifests in the test's namespace, with our image."""
        (one,) = (one for one in OBJECTS if (one["kind"], one["metadata"]["name"]) == (kind, name))
        text = json.dumps({**one, "spec": {**one["spec"], **spec}} if spec else one)
        made = json.loads(text.replace('"image": "mcp-soar"', f'"image": "{self.image}"'))
        metadata = {**made["metadata"], "namespace": self.namespace}
        self.cluster.ask("POST", WHERE[kind].format(self.namespace), {**made, "metadata": metadata})

    def bound(self, kind: str, where: str, name: str, role: str) -> str:
        subject = {"kind": "ServiceAccount", "name": "responder", "namespace": self.namespace}
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        path = WHERE[kind].format(where)
        self.cluster.ask("POST", path, {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]})
        return f"{path}/{name}"

    def pod(self, app: str) -> dict[str, Any]:
        found = [one for one in self.cluster.pods(self.namespace) if one["metadata"]["labels"].get("app") == app]
        return found[0] if found else {"metadata": {"name": "none"}, "status": {}}

    def runs(self, app: str) -> None:
        try:
            self.cluster.until(lambda: ready(self.pod(app)), f"{app} is ready")
        except TimeoutError as exc:
            raise TimeoutError(f"{self.log(app)}\n{json.dumps(self.pod(app)['status'], indent=1)}") from exc

    def log(self, app: str) -> str:
        path = f"/api/v1/namespaces/{self.namespace}/pods/{self.pod(app)['metadata']['name']}/log"
        with contextlib.suppress(Exception):
            return self.cluster.read(path).decode()
        return ""


def keeps(disk: Path, what: bytes) -> bool:
    """Whether a file of the vault holds something; half of one that is being written counts for nothing."""
    return any(what in path.read_bytes() for path in disk.glob("vault/**/*") if path.is_file())


def configured(soar: Path, *, door: str, database: str, receiver: str, api: str, servers: str) -> None:
    """Write a configuration as the guide says.

    Args:
        soar: where.
        door: the address of this machine that pods reach.
        database: where the journal is.
        receiver: the account there of receivers.
        api: where the cluster's API server is.
        servers: the namespace in which server `weather` runs.
    """
    subprocess.run([Path(sys.executable).with_name("mcp-soar"), "init", soar], check=True, capture_output=True)  # noqa: S603  # ours
    certificate(soar / "tls", door)
    stamp = soar / "keys" / "receiver.stamp"
    stamp.touch(mode=0o600)
    stamp.write_text(base64.b64encode(secrets.token_bytes(32)).decode())
    settings = {
        "version": 1,
        "journal": {"url": f"postgresql://postgres@{database}", "password": {"env": "SOAR_JOURNAL"}},
        "vault": {"path": "/srv/soar/vault", "bundles": "/srv/soar/bundles"},
        "receiver": {
            "host": "0.0.0.0",  # noqa: S104  # in its pod
            "certificate": "tls/soar.pem",
            "key": "tls/soar.key",
            "account": {"user": receiver, "password": {"env": "SOAR_RECEIVER"}},
        },
        "prefect": {"api": "http://prefect:4200/api", "auth": {"env": "PREFECT_AUTH"}},
    }
    (soar / "mcp-soar.yaml").write_text(yaml.safe_dump(settings))
    here = {
        "version": 1,
        "systems": {"here": {"kind": "kubernetes", "kubeconfig": {"file": "kubeconfigs/here"}}},
        "servers": {
            "weather": {
                "title": "Weather",
                "owner": "weather-team",
                "environment": "prod",
                "url": "https://weather.example/mcp",
                "places": {"here": {"namespace": servers, "name": "weather"}},
            }
        },
    }
    (soar / "inventory.yaml").write_text(yaml.safe_dump(here))
    source = {
        "format": "generic",
        "authentication": {"hmac": {"secrets": [{"file": "secrets/generic"}]}},
        "confidence": "high",
        "classify": [{"tag": "server_compromise", "class": "server_compromise"}],
    }
    (soar / "sources.yaml").write_text(yaml.safe_dump({"version": 1, "sources": {"generic": source}}))
    (soar / "contacts.yaml").unlink()
    guide = (DOCS / "production.md").read_text(encoding="utf-8")
    (kubeconfig,) = (text.partition("```")[0] for text in guide.split("```yaml\n") if "tokenFile" in text)
    # No names are looked up in this cluster, and its API server listens where no pod is.
    server = f"https://{api}\n    tls-server-name: kubernetes.default.svc"
    (soar / "kubeconfigs").mkdir()
    (soar / "kubeconfigs" / "here").write_text(kubeconfig.replace("https://kubernetes.default.svc", server))


async def test_receiver_and_responder_run_on_a_cluster_as_the_guide_deploys_them(
    cluster: Kubernetes, postgres: PostgresServer, tmp_path: Path
) -> None:
    if missing := own_image.lacking():
        pytest.skip(missing)
    archive = tmp_path / "image.tar"
    image = own_image.write(archive)
    await asyncio.to_thread(cluster.take, archive)
    archive.unlink()
    undo: list[str] = []
    door = cluster.door()
    with (
        postgres.fresh_database() as url,
        cluster.namespace() as namespace,
        cluster.namespace() as servers,
    ):
        async with (
            account(url, "receiver") as receiver,
            forwarded(postgres.port) as database,
            forwarded(int(cluster.url.rpartition(":")[2])) as api,
        ):
            deployed = Deployed(cluster, namespace, tmp_path, image)
            labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
            cluster.ask("PATCH", f"/api/v1/namespaces/{namespace}", labels, kind="application/merge-patch+json")
            cluster.deploy(servers, "weather", replicas=1)
            soar = tmp_path / "soar"
            configured(
                soar,
                door=door,
                database=f"{door}:{database}/{make_url(url).database}",
                receiver=receiver.name,
                api=f"{door}:{api}",
                servers=servers,
            )
            environment = {
                "SOAR_JOURNAL": postgres.password,
                "SOAR_RECEIVER": receiver.name,
                "PREFECT_AUTH": "soar:soar",
            }
            others = ("READER_URL", "WORKER_URL", "PREFECT_DATABASE")
            deployed.given({**environment, **dict.fromkeys(others, "postgresql://nobody@nowhere/none")})
            try:
                disk = tmp_path / "disk"
                disk.mkdir()
                disk.chmod(0o777)
                volume = {
                    "metadata": {"name": namespace},
                    "spec": {
                        "capacity": {"storage": "50Gi"},
                        "accessModes": ["ReadWriteOnce"],
                        "storageClassName": "",
                        "hostPath": {"path": str(disk)},
                        "claimRef": {"namespace": namespace, "name": "evidence"},
                    },
                }
                cluster.ask("POST", "/api/v1/persistentvolumes", volume)
                undo.append(f"/api/v1/persistentvolumes/{namespace}")
                undo.append(deployed.bound("RoleBinding", servers, "mcp-soar-responder", NAME))
                undo.append(deployed.bound("ClusterRoleBinding", "", f"{WIDE}-{namespace}", WIDE))
                deployed.apply("ServiceAccount", "responder")
                deployed.apply("PersistentVolumeClaim", "evidence", storageClassName="")
                deployed.apply("Deployment", "responder")
                await asyncio.to_thread(deployed.runs, "responder")
                deployed.apply("Deployment", "receiver", replicas=1)
                await asyncio.to_thread(deployed.runs, "receiver")

                config = read(soar)
                one = config.sources.sources["generic"]
                context = ssl.create_default_context(cafile=str(soar / "tls" / "soar.pem"))
                context.check_hostname = False
                at = f"https://{deployed.pod('receiver')['status']['podIP']}:8765/v1/alerts/generic"
                raw = alert("weather", tags=["server_compromise"])
                status, _ = await asyncio.to_thread(deliver, at, one, read_keys("generic", one), "one", raw, context)
                assert status == 202
                await asyncio.to_thread(cluster.until, partial(keeps, disk, b'"kind":"Deployment"'), "evidence is kept")
            finally:
                for path in undo:
                    cluster.ask("DELETE", path)
