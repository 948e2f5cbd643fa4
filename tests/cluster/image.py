"""An image that a cluster without a registry runs: one static busybox, as an OCI archive (image-spec v1.1)."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

APPLETS = ("cat", "echo", "httpd", "ls", "nc", "sh", "sleep", "true", "wget")
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


def write(file: Path, name: str, command: list[str], busybox: Path = Path("/bin/busybox")) -> str:
    """Write an image, and return what it is called.

    Args:
        file: where.
        name: what it is called, with its tag; one that ends with `@` is called by its digest.
        command: what it runs.
        busybox: the program that is everything in it.
    """
    layer = _layer(busybox)
    config = _text(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": command, "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )
    manifest = _text(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _part(_CONFIG, config),
            "layers": [_part(_LAYER, layer)],
        }
    )
    name = f"{name}{_digest(manifest)}" if name.endswith("@") else name
    named = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    index = _text({"schemaVersion": 2, "manifests": [{**_part(_MANIFEST, manifest), "annotations": named}]})
    blobs = {f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}": blob for blob in (config, manifest, layer)}
    files = {"oci-layout": _text({"imageLayoutVersion": "1.0.0"}), "index.json": index, **blobs}
    with tarfile.open(file, "w") as archive:
        for path, data in files.items():
            _add(archive, path, data)
    return name


def _layer(busybox: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for folder in ("bin", "dev", "etc", "proc", "sys", "tmp", "www"):
            item = tarfile.TarInfo(folder)
            item.type, item.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(item)
        _add(archive, "bin/busybox", busybox.read_bytes(), mode=0o755)
        for applet in APPLETS:
            item = tarfile.TarInfo(f"bin/{applet}")
            item.type, item.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(item)
    return out.getvalue()


def _add(archive: tarfile.TarFile, path: str, data: bytes, mode: int = 0o644) -> None:
    item = tarfile.TarInfo(path)
    item.size, item.mode = len(data), mode
    archive.addfile(item, io.BytesIO(data))


def _text(value: Any) -> bytes:  # noqa: ANN401  # any JSON
    return json.dumps(value).encode()


def _part(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
