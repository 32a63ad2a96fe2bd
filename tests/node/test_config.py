from __future__ import annotations

from pathlib import Path

import pytest

from vastus.dicom.tls import TlsFiles
from vastus.errors import SettingsError
from vastus.node.config import Peer, load_config

FULL = """
[node]
data = "data"
ae_title = "MUSCLES"
listen = "0.0.0.0"
port = 11113
quiet_s = 10
[limits]
storage_gb = 50
[[allow]]
ae_title = "PACS"
address = "192.0.2.7"
[destination]
url = "dicomwebs://pacs.example/dicom-web"
authorities = "hospital.pem"
[process]
formats = "dicom-seg"
weights = "bundle"
"""


def _load(folder: Path, text: str):
    (folder / "node.toml").write_text(text)
    return load_config(folder / "node.toml")


def test_a_full_configuration_is_read(tmp_path: Path) -> None:
    config = _load(tmp_path, FULL)
    assert config.data == tmp_path / "data"
    assert config.processing.weights == tmp_path / "bundle"
    assert config.allow == (Peer("PACS", "192.0.2.7"),)
    assert config.destination is not None and config.destination.scheme == "dicomwebs"
    assert config.destination_tls == TlsFiles(authorities=tmp_path / "hospital.pem")
    assert config.limits.storage_gb == 50 and config.limits.tries == 3


def test_loopback_is_the_default(tmp_path: Path) -> None:
    assert _load(tmp_path, '[node]\ndata = "d"').listen == "127.0.0.1"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "node.data"),
        ('[node]\ndata = "d"\ncolour = 1', "colour"),
        ('[node]\ndata = "d"\nport = "x"', "node.port"),
        ('[node]\ndata = "d"\nport = 0', "port"),
        ('[node]\ndata = "d"\nport = true', "node.port"),
        ('[node]\ndata = "d"\nlisten = "everywhere"', "listen"),
        ('[node]\ndata = "d"\nae_title = "MUCH TOO LONG A TITLE"', "ae_title"),
        ('[node]\ndata = "d"\nlisten = "0.0.0.0"', "anyone"),
        ('[node]\ndata = "d"\n[limits]\ntries = 0', "limits.tries"),
        ('[node]\ndata = "d"\n[[allow]]\naddress = "1.2.3.4"', "allow"),
        ('[node]\ndata = "d"\n[tls]\nkey = "k"', "tls"),
        ('[node]\ndata = "d"\n[extra]\nx = 1', "extra"),
        ('[node]\ndata = "d"\n[destination]\nurl = "http://x"', "PACS address"),
        ('[node]\ndata = "d"\n[destination]\nauthorities = "ca.pem"', "url"),
        ('[node]\ndata = "d"\n[destination]\nurl = "dicoms://A@h"\ncertificat = "c"', "certificat"),
        ("[node", "TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named) as caught:
        _load(tmp_path, text)
    assert "node.toml" in str(caught.value)


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such"):
        load_config(tmp_path / "none.toml")
