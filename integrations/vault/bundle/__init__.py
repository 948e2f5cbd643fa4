"""A bundle: an incident's evidence and journal in one folder or archive, which anybody can verify offline.

    manifest.dsse.json      the signed manifest; vouches for everything else
    README.txt              how to verify, in plain words
    exhibits/<id>/<name>    the evidence, raw
    journal.jsonl           one entry a line, by stream and seq
    heads.jsonl             one signed head a line, by n
    keys/<id>.pub           the public keys, for convenience: verification trusts only the key that it is given

A bundle is as hostile as its sender. An archive is read as a stream and never unpacked, and holds exactly what `export`
writes, down to the bytes of its headers: no link, device or foreign path gets past that.
"""

from integrations.vault.bundle.contents import Limits
from integrations.vault.bundle.layout import README_TEXT
from integrations.vault.bundle.reading import BundleCheck, Report, custody_faults, signed, verify
from integrations.vault.bundle.writing import export, sign, tips

__all__ = [
    "README_TEXT",
    "BundleCheck",
    "Limits",
    "Report",
    "custody_faults",
    "export",
    "sign",
    "signed",
    "tips",
    "verify",
]
