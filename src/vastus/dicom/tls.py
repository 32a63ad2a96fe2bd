"""TLS for connections to and from a PACS: who we are, and whom we trust."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vastus.errors import SettingsError

VARIABLES: Final = ("VASTUS_TLS_CERTIFICATE", "VASTUS_TLS_KEY", "VASTUS_TLS_AUTHORITIES")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Files in PEM format.

    Attributes:
        certificate, key: our own; a PACS may ask for it.
        authorities: who must have signed the other side's certificate; None: the system's, for connections that we
            open.
    """

    certificate: Path | None = None
    key: Path | None = None
    authorities: Path | None = None


def tls_from_environment() -> TlsFiles:
    """What ``VARIABLES`` name; empty where they are not set."""
    certificate, key, authorities = (Path(text) if (text := os.environ.get(name)) else None for name in VARIABLES)
    return TlsFiles(certificate, key, authorities)


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """For connections that we open: TLS 1.2 or newer, the other side's certificate and host name are checked.

    Raises:
        SettingsError: a file is missing or no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=files.authorities)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if files.certificate is not None:
            context.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(files, error) from error
    return context


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """For connections that we take: TLS 1.2 or newer; with authorities, the other side must show a certificate.

    Raises:
        SettingsError: no own certificate, or a file is missing or no certificate.
    """
    if files.certificate is None or files.key is None:
        raise SettingsError("TLS connections can be taken only with a certificate and its key.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(files.certificate, files.key)
        if files.authorities is not None:
            context.load_verify_locations(files.authorities)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise _unusable(files, error) from error
    return context


def _unusable(files: TlsFiles, error: Exception) -> SettingsError:
    return SettingsError(f"The TLS certificates can't be used ({error}).", path=files.certificate or files.authorities)
