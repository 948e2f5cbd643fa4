"""Images without an engine and a registry, as OCI archives (image-spec v1.1); and one of a static busybox alone."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import IO, Any

APPLETS = ("cat", "echo", "grep", "head", "httpd", "ls", "nc", "sed", "sh", "sleep", "tar", "tr", "true", "wget")
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
    return archive(file, name, {"Entrypoint": command, "Env": ["PATH=/bin"]}, io.BytesIO(_layer(busybox)))


def archive(file: Path, name: str, runs: dict[str, Any], layer: IO[bytes]) -> str:
    """Write an image of one layer, and return what it is called.

    Args:
        file: where.
        name: what it is called, with its tag; one that ends with `@` is called by its digest.
        runs: what it runs, and with which environment; the configuration's `config`.
        layer: its files, as a tar, from the beginning.
    """
    # A file that is read and sought in, as typeshed does not say of one.
    digest = f"sha256:{hashlib.file_digest(layer, 'sha256').hexdigest()}"  # type: ignore[arg-type]
    size = layer.seek(0, io.SEEK_END)
    config = _text(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": runs,
            "rootfs": {"type": "layers", "diff_ids": [digest]},
        }
    )
    manifest = _text(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _part(_CONFIG, config),
            "layers": [{"mediaType": _LAYER, "digest": digest, "size": size}],
        }
    )
    name = f"{name}{_digest(manifest)}" if name.endswith("@") else name
    named = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    index = _text({"schemaVersion": 2, "manifests": [{**_part(_MANIFEST, manifest), "annotations": named}]})
    blobs = {f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}": blob for blob in (config, manifest)}
    files = {"oci-layout": _text({"imageLayoutVersion": "1.0.0"}), "index.json": index, **blobs}
    with tarfile.open(file, "w") as out:
        for path, data in files.items():
            _add(out, path, data)
        item = tarfile.TarInfo(f"blobs/sha256/{digest.removeprefix('sha256:')}")
        item.size = size
        layer.seek(0)
        out.addfile(item, layer)
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
