import pytest

from vastus.annotation import extra
from vastus.errors import MissingExtraError


def test_a_server_without_its_libraries_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    extra.require_server("The app")
    monkeypatch.setattr(extra, "find_spec", lambda name: None if name == "uvicorn" else object())
    with pytest.raises(MissingExtraError, match="The app"):
        extra.require_server("The app")
