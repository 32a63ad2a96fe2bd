"""Who may come in: passwords, tokens, pages of other sites, other names of this machine."""

import json
import socket
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from annotation_server import ONE_THREAD, Client, Running, label_bytes, phantom, serving
from slicer_stand_in import ServerSaysNo, SlicerModule
from vastus.annotation.project.project import ServerSettings
from vastus.annotation.project.users import Accounts, PasswordHash, add_user, read_users
from vastus.annotation.refusals import BusyError, NotSignedInError, WrongPasswordError
from vastus.cli.main import app
from vastus.errors import SettingsError

PASSWORD = "correct horse"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users.json"
    for name in ("anna", "bert"):
        add_user(file, name, PASSWORD + name)
    return file


@pytest.fixture
def closed(project: Path, model: Path, users: Path) -> Iterator[Running]:
    """A server with accounts."""
    with serving(ServerSettings(project, model, ONE_THREAD), Accounts(read_users(users))) as server:
        yield server


def sign_in(client: Client, name: str, password: str) -> Client:
    body = f"username={name}&password={password.replace(' ', '+')}&grant_type=password".encode()
    answer = client.post("/auth/token", body, "application/x-www-form-urlencoded")
    assert answer.status == 200, answer.body
    return Client(client.address, {"authorization": f"Bearer {answer.json['access_token']}"})


def test_passwords_are_kept_as_salted_hashes_that_only_the_owner_reads(users: Path) -> None:
    text = users.read_text()
    hashes = json.loads(text)
    assert PASSWORD not in text and hashes["anna"].split("$")[4] != hashes["bert"].split("$")[4]
    assert stat.S_IMODE(users.stat().st_mode) == 0o600
    assert read_users(users)["anna"].matches(PASSWORD + "anna")
    assert not read_users(users)["anna"].matches(PASSWORD + "bert")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"anna": "secret"}', '{"../a": "x"}', '{"a": "scrypt$0$8$1$00$00"}'])
def test_a_users_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "users.json").write_text(text)
    with pytest.raises(Exception, match=r"users file|name of a user"):
        read_users(tmp_path / "users.json")


def test_a_cost_that_would_take_all_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="scrypt"):
        PasswordHash.from_text(f"scrypt${1 << 30}$8$1$00$00")


def test_tokens_expire_and_failures_are_slowed_down(users: Path) -> None:
    accounts = Accounts(read_users(users), token_seconds=0.2)
    token = accounts.sign_in("anna", PASSWORD + "anna")
    assert accounts.user_of(token) == "anna"
    time.sleep(0.25)
    with pytest.raises(NotSignedInError):
        accounts.user_of(token)
    for _ in range(5):
        with pytest.raises(WrongPasswordError):
            accounts.sign_in("anna", "wrong password")
    with pytest.raises(BusyError):
        accounts.sign_in("anna", PASSWORD + "anna")
    assert accounts.sign_in("bert", PASSWORD + "bert") != token
    for name in ("nobody", "somebody"):
        with pytest.raises(WrongPasswordError):
            accounts.sign_in(name, "wrong password")


def test_nothing_of_the_project_is_seen_without_a_token(closed: Running) -> None:
    client = closed.client
    paths = set(client.get("/openapi.json").json["paths"])
    open_paths = {"/auth/", "/auth/token", "/auth/logout"}
    asked = 0
    for path, operations in client.get("/openapi.json").json["paths"].items():
        for method in set(operations) - {"parameters"}:
            if path in open_paths:
                continue
            filled = path.replace("{case_id}", "scan0").replace("{version}", "1")
            filled = filled.replace("{", "").replace("}", "")
            body = b"{}" if method in ("post", "put") else None
            answer = client.ask(method.upper(), filled, body, {"content-type": "application/json"})
            assert answer.status == 401, (method, path, answer.status)
            assert answer.headers["www-authenticate"] == "Bearer"
            asked += 1
    assert asked > 40 and open_paths <= paths
    assert client.get("/").status == 200, "the viewer's own files are open: it shows the sign-in"
    assert client.get("/auth/").json["enabled"] is True


def test_each_version_bears_the_name_of_who_signed_in(closed: Running, tmp_path: Path) -> None:
    anna, bert = (sign_in(closed.client, name, PASSWORD + name) for name in ("anna", "bert"))
    content = label_bytes(phantom(0).labels, tmp_path)
    assert anna.get("/api/me").json["name"] == "anna"
    assert anna.post("/api/cases/scan0/lock").json["locked_by"] == "anna"
    refused = bert.post("/api/cases/scan0/versions", content)
    assert refused.status == 423 and refused.json["error"] == "LockedCaseError"
    named = Client(anna.address, anna.headers | {"x-vastus-author": "eve"})
    assert named.post("/api/cases/scan0/versions", content).json["author"] == "anna"
    assert anna.ask("DELETE", "/api/cases/scan0/lock").status == 200
    assert bert.post("/api/cases/scan0/versions", content).json["author"] == "bert"
    assert anna.post("/auth/logout").status == 200
    assert anna.get("/api/me").status == 401


def test_slicer_signs_in(closed: Running, tmp_path: Path) -> None:
    slicer = SlicerModule(closed.address, tmp_path / "slicer")
    assert slicer.auth_enabled()
    with pytest.raises(ServerSaysNo) as refused:
        slicer.info()
    assert refused.value.status == 401
    with pytest.raises(ServerSaysNo):
        slicer.sign_in("anna", "wrong password")
    slicer.sign_in("anna", PASSWORD + "anna")
    assert slicer.info()["name"] == "Vastus"
    assert slicer.next_sample("random")


def test_the_cookie_is_for_this_site_only(closed: Running) -> None:
    body = f"username=anna&password={PASSWORD.replace(' ', '+')}anna".encode()
    answer = closed.client.post("/auth/token", body, "application/x-www-form-urlencoded")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    with_cookie = Client(closed.address, {"cookie": cookie.split(";")[0]})
    assert with_cookie.get("/api/me").json["name"] == "anna"
    foreign = {"cookie": cookie.split(";")[0], "origin": "http://evil.example"}
    assert Client(closed.address, foreign).post("/api/cases/scan0/lock").status == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "["}, 403),
        ({"host": "localhost"}, 200),
        ({}, 200),
    ],
)
def test_pages_of_other_sites_change_nothing(running: Running, headers: dict[str, str], status: int) -> None:
    answer = Client(running.address, headers).post("/api/cases/scan0/lock")
    assert answer.status == status
    assert bool(running.project.store.locks()) == (status == 200)
    if status == 403:
        assert answer.json["error"] == "ForeignOriginError"


def test_the_own_page_may(running: Running) -> None:
    own = {"origin": running.address, "sec-fetch-site": "same-origin"}
    assert Client(running.address, own).post("/api/cases/scan0/lock").status == 200


def test_answers_carry_the_headers_of_a_careful_server(running: Running) -> None:
    for path in ("/", "/api/cases", "/api/nothing"):
        headers = running.client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
    assert running.client.get("/api/cases").headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in running.client.get("/api/cases").headers


def test_a_request_without_a_host_is_refused(running: Running) -> None:
    port = int(running.address.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET /api/cases HTTP/1.0\r\n\r\n")
        assert b" 400 " in connection.makefile("rb").readline()


def test_elsewhere_than_on_this_machine_users_are_needed(project: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    result = runner.invoke(app, ["annotate", str(project), "--host", "0.0.0.0"])
    assert isinstance(result.exception, SettingsError) and "users" in str(result.exception)
    made = runner.invoke(
        app, ["annotate", "--add-user", "anna", "--users", str(tmp_path / "u.json")], input="correct horse battery\n"
    )
    assert made.exit_code == 0, made.output
    assert read_users(tmp_path / "u.json")["anna"].matches("correct horse battery")
    short = runner.invoke(app, ["annotate", "--add-user", "b", "--users", str(tmp_path / "u.json")], input="short\n")
    assert isinstance(short.exception, SettingsError)


def _answer(accounts: Accounts, name: str, password: str = "wrong password", address: str = "") -> str:
    try:
        accounts.sign_in(name, password, address)
    except BusyError:
        return "429"
    except WrongPasswordError:
        return "401"
    return "200"


@pytest.mark.parametrize(
    "history",
    [
        ["nobody1", "nobody2", "nobody3", "nobody4", "nobody5", "nobody6"],
        ["anna"] * 6,
        ["zoe"] * 6,
        ["anna", "zoe"] * 6,
        ["anna"] * 3 + ["zoe"] * 3,
    ],
)
def test_the_throttle_does_not_tell_which_names_exist(users: Path, history: list[str]) -> None:
    accounts = Accounts(read_users(users))
    for name in history:
        _answer(accounts, name)
    asked = {"anna", "bert", "zoe", "admin"}
    by_count: dict[int, set[str]] = {}
    for name in asked:
        by_count.setdefault(history.count(name), set()).add(_answer(accounts, name))
    assert all(len(answers) == 1 for answers in by_count.values()), by_count


def test_nobody_is_locked_out_from_elsewhere(users: Path) -> None:
    accounts = Accounts(read_users(users))
    for _ in range(12):
        _answer(accounts, "anna", address="192.0.2.66")
    right = PASSWORD + "anna"
    assert _answer(accounts, "anna", right, "192.0.2.66") == "429"
    assert _answer(accounts, "anna", right, "192.0.2.7") == "200"
    # A machine with a whole network of addresses is one place; so are the two spellings of an IPv4 address.
    for last in range(12):
        _answer(accounts, "bert", address=f"2001:db8::{last}")
    assert _answer(accounts, "bert", PASSWORD + "bert", "2001:db8::ff") == "429"
    assert _answer(accounts, "anna", right, "::ffff:192.0.2.66") == "429"


def test_many_attempts_at_the_same_moment_are_counted(users: Path) -> None:
    accounts = Accounts(read_users(users))
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: _answer(accounts, "anna"), range(12)))
    assert answers.count("401") == 5


def test_counters_are_bounded(users: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vastus.annotation.project.users._MOST_FAILURES", 4)
    accounts = Accounts(read_users(users))
    for number in range(8):
        _answer(accounts, f"nobody{number}" * 100)
    assert len(accounts._failures) == 4


def test_a_crowd_at_the_sign_in_keeps_nobody_waiting_who_is_signed_in(closed: Running) -> None:
    anna = sign_in(closed.client, "anna", PASSWORD + "anna")
    slow = threading.Event()
    accounts = closed.project.accounts
    assert accounts is not None
    matches = PasswordHash.matches

    def waiting(own: PasswordHash, password: str) -> bool:
        slow.wait(20)
        return matches(own, password)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(60) as crowd:
        patch.setattr(PasswordHash, "matches", waiting)
        body = b"username=nobody&password=wrong"
        kind = "application/x-www-form-urlencoded"
        asked = [crowd.submit(closed.client.post, "/auth/token", body, kind) for _ in range(60)]
        try:
            time.sleep(0.5)
            start = time.monotonic()
            assert anna.get("/api/cases").status == 200
            assert time.monotonic() - start < 4.0
        finally:
            slow.set()
        assert {each.result().status for each in asked} == {401, 429}


def test_a_form_of_a_stranger_is_not_stored(closed: Running) -> None:
    address = closed.address.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=20) as client:
        client.sendall(
            b"PUT /datastore/?image=q HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=B\r\n"
            b"Content-Length: 50000000\r\n\r\n"
        )
        assert b" 401 " in client.recv(4096).partition(b"\r\n")[0], "answered before a byte of the body was sent"
