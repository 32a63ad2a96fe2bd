"""Certificates for tests: an authority and what it signed, made by openssl."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from vastus.dicom.tls import TlsFiles


@dataclass(frozen=True)
class Authority:
    folder: Path
    name: str

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.pem"

    def issue(self, name: str) -> TlsFiles:
        """A certificate of ``name`` for 127.0.0.1, trusting this authority."""
        request, key, made = (self.folder / f"{name}.{suffix}" for suffix in ("csr", "key", "pem"))
        extension = self.folder / f"{name}.ext"
        extension.write_text("subjectAltName=IP:127.0.0.1\n")
        _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        _openssl(
            "x509",
            "-req",
            "-in",
            request,
            "-CA",
            self.path,
            "-CAkey",
            self.folder / f"{self.name}.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            extension,
            "-out",
            made,
        )
        return TlsFiles(made, key, self.path)


def make_authority(folder: Path, name: str = "authority") -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    _openssl(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        f"/CN={name}",
        "-keyout",
        folder / f"{name}.key",
        "-out",
        folder / f"{name}.pem",
    )
    return Authority(folder, name)


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
