"""Windows and macOS, faked: what only Linux has is asked for before it is used.

A faked platform is no real one. These tests keep each place that was found by reading from coming back.
"""

import ast
import ctypes
import errno
import io
import os
import sys
import types
from pathlib import Path

import pytest

from vastus import compiled, priority
from vastus.annotation.models import trainer
from vastus.annotation.names import checked_name, name_from
from vastus.annotation.project import store
from vastus.annotation.project.cases import _unused_id
from vastus.annotation.refusals import BadNameError
from vastus.batch import engine, worker
from vastus.batch.scan_names import clean_name
from vastus.cli import annotate, main
from vastus.cli.segment import _unused
from vastus.errors import OutputError
from vastus.io import atomic
from vastus.io.file_names import is_device_name
from vastus.processors import usable_processors
from vastus.report import pdf

PACKAGE = Path(__file__).parents[1] / "src" / "vastus"
# What Windows lacks: attributes of `os`, `signal` and `socket`, and whole modules.
LACKING = {
    "nice",
    "fork",
    "forkpty",
    "geteuid",
    "getuid",
    "getgid",
    "getegid",
    "getpgid",
    "setsid",
    "killpg",
    "getloadavg",
    "sched_getaffinity",
    "sched_setaffinity",
    "sysconf",
    "sysconf_names",
    "statvfs",
    "mkfifo",
    "chown",
    "fchown",
    "fchmod",
    "O_DIRECTORY",
    "O_NOFOLLOW",
    "O_CLOEXEC",
    "O_NONBLOCK",
    "SIGKILL",
    "SIGHUP",
    "SIGALRM",
    "SIGUSR1",
    "SIGUSR2",
    "SIGCHLD",
    "alarm",
    "AF_UNIX",
    "pread",
    "pwrite",
    "posix_fadvise",
    "uname",
}
GUARDED = {
    # module: attributes that stand in it behind a question for the platform, each looked at
    "cli/node.py": {"geteuid"},
    "cli/annotate.py": {"geteuid"},
    "compiled.py": {"getuid"},
    "inference/kept_networks.py": {"getuid"},
    "report/pdf.py": {"geteuid", "killpg", "SIGKILL"},
    "node/guard.py": {"SIGKILL"},
    "second_process.py": {"fork", "killpg", "SIGKILL"},
    "batch/engine.py": {"sysconf"},
}
MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "posix"}
GUARDED_MODULES = {"cli/annotate.py": {"resource"}, "batch/worker.py": {"resource"}}


def used(text: str) -> tuple[set[str], set[str]]:
    """Attributes of ``os``, ``signal`` and ``socket`` that Windows lacks, and modules, that a source text names."""
    attributes, modules = set(), set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in ("os", "signal", "socket") and node.attr in LACKING:
                attributes.add(node.attr)
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom):
            modules |= {node.module or ""} & MODULES
            attributes |= {alias.name for alias in node.names if node.module in ("os", "signal")} & LACKING
    return attributes, modules


def test_a_planted_use_is_found() -> None:
    assert used("import os\nfrom signal import SIGKILL\nimport fcntl\nos.nice(5)\n") == ({"nice", "SIGKILL"}, {"fcntl"})


def test_what_windows_lacks_stands_only_where_it_was_looked_at() -> None:
    found = {str(p.relative_to(PACKAGE).as_posix()): used(p.read_text(encoding="utf-8")) for p in PACKAGE.rglob("*.py")}
    assert {name: attributes for name, (attributes, _) in found.items() if attributes} == GUARDED
    assert {name: modules for name, (_, modules) in found.items() if modules} == GUARDED_MODULES


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    for name in LACKING:
        monkeypatch.delattr(os, name, raising=False)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_WAITS_S", (0.0, 0.0))


@pytest.mark.usefixtures("windows")
def test_priority_stays_where_the_system_knows_no_niceness() -> None:
    assert not priority.lower_priority(5)


def test_priority_falls_on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "nice", asked.append, raising=False)
    assert priority.lower_priority(5) and not priority.lower_priority(0)
    assert asked == [5]


@pytest.mark.usefixtures("windows")
def test_a_training_on_windows_is_no_program_that_becomes_another() -> None:
    assert trainer._training_command(["train"]) == [sys.executable, "-m", "vastus", "train"]


def test_a_training_elsewhere_ends_with_its_server() -> None:
    assert trainer._training_command(["train"])[1:4] == ["-m", "vastus.node.guard", str(os.getpid())]


def test_flushing_on_windows_opens_files_for_writing_and_folders_not_at_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"1")
    ways: list[int] = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, flags: (ways.append(flags), real(path, flags))[1])
    monkeypatch.setattr(sys, "platform", "win32")
    store._flush(file)
    store._flush(tmp_path)
    assert ways == [os.O_RDWR]


@pytest.mark.usefixtures("windows", "no_waiting")
def test_a_file_that_is_held_for_a_moment_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refusals = [PermissionError(errno.EACCES, "Permission denied")] * 2
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if refusals:
            raise refusals.pop()
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    atomic.write_text(tmp_path / "a.csv", "new")
    assert (tmp_path / "a.csv").read_text() == "new" and not refusals


@pytest.mark.usefixtures("windows", "no_waiting")
@pytest.mark.parametrize("act", ["write", "put", "remove"])
def test_a_file_that_stays_open_elsewhere_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, act: str) -> None:
    def refuse(self: Path, *_: object, **__: object) -> Path:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "a.csv").write_text("old")
    (tmp_path / "new").write_text("new")
    if act != "remove":
        monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OutputError, match="Close it in other programs"):
        if act == "write":
            atomic.write_text(tmp_path / "a.csv", "new")
        elif act == "put":
            atomic.put_in_place(tmp_path / "new", tmp_path / "a.csv")
        else:
            monkeypatch.setattr(Path, "unlink", refuse)
            atomic.remove_old(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "old"


def test_elsewhere_nobody_waits_and_no_program_is_blamed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(self: Path, target: Path) -> Path:
        tries.append(target)
        raise PermissionError(errno.EACCES, "Permission denied")

    tries: list[Path] = []
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OutputError) as refused:
        atomic.write_text(tmp_path / "a.csv", "new")
    assert len(tries) == 1 and "Close it" not in str(refused.value)


@pytest.mark.usefixtures("windows", "no_waiting")
def test_a_folder_takes_the_place_of_an_empty_one_on_windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if target.is_dir():
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    (tmp_path / "dicom").mkdir()
    with atomic.atomic_folder(tmp_path / "dicom") as staging:
        (staging / "a").write_bytes(b"1")
    assert (tmp_path / "dicom" / "a").is_file()


@pytest.mark.parametrize("name", ["CON", "nul", "com1.nii.gz", "LPT9", "aux .txt", "prn."])
def test_names_of_devices_are_no_names_of_scans(name: str) -> None:
    assert is_device_name(name)
    assert not is_device_name(clean_name(name))
    assert not is_device_name(name_from(name, "scan"))
    with pytest.raises(BadNameError):
        checked_name(name, "case")


@pytest.mark.parametrize("name", ["console", "com10", "com", "lpt0", "patient.con", "nulla"])
def test_other_names_stay(name: str) -> None:
    assert clean_name(name) == name == checked_name(name, "case")


def test_names_that_differ_in_case_only_get_folders_of_their_own() -> None:
    taken: set[str] = set()
    assert len({_unused(name, taken).casefold() for name in ("Scan", "scan", "SCAN")}) == 3
    assert _unused_id("scan.nii.gz", {"Scan"}).casefold() != "scan"


def test_browsers_are_found_where_windows_and_macos_keep_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pdf.shutil, "which", lambda name: None)
    program = tmp_path / "Microsoft" / "Edge" / "Application" / "msedge.exe"
    program.parent.mkdir(parents=True)
    program.touch()
    monkeypatch.setenv("PROGRAMFILES(X86)", str(tmp_path))
    assert pdf.find_browser() is None
    monkeypatch.setattr(sys, "platform", "win32")
    assert pdf.find_browser() == str(program)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome") in pdf._usual_places()


def test_memory_on_windows_is_asked_of_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def status(pointer: object) -> int:
        found = ctypes.cast(pointer, ctypes.POINTER(engine._MemoryStatus)).contents
        assert found.length == ctypes.sizeof(engine._MemoryStatus) == 64
        found.available = 5 * 2**30
        return 1

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(Path, "read_text", lambda *a, **k: (_ for _ in ()).throw(FileNotFoundError()))
    assert engine.free_memory_bytes() == 0
    kernel = types.SimpleNamespace(kernel32=types.SimpleNamespace(GlobalMemoryStatusEx=status))
    monkeypatch.setattr(ctypes, "windll", kernel, raising=False)
    assert engine.free_memory_bytes() == 5 * 2**30


def test_cores_are_counted_where_processes_have_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_processors() == 7


@pytest.mark.parametrize(("platform", "unit"), [("darwin", 1), ("freebsd14", 1024)])
def test_peak_memory_without_proc_is_in_bytes(monkeypatch: pytest.MonkeyPatch, platform: str, unit: int) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(Path, "read_text", lambda *a, **k: (_ for _ in ()).throw(FileNotFoundError()))
    monkeypatch.setattr(resource, "getrusage", lambda who: types.SimpleNamespace(ru_maxrss=1000))
    monkeypatch.setattr(sys, "platform", platform)
    assert worker.peak_bytes() == 1000 * unit


def test_macos_may_refuse_more_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    asked: list[object] = []

    def refuse(what: int, limits: tuple[int, int]) -> None:
        asked.append(limits)
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    annotate._many_connections()
    assert asked


@pytest.mark.parametrize(("platform", "shared"), [("win32", False), ("linux", True), ("darwin", True)])
def test_two_servers_never_share_a_port(monkeypatch: pytest.MonkeyPatch, platform: str, shared: bool) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    with annotate._listen("127.0.0.1", 0) as listening:
        found = listening.getsockopt(annotate.socket.SOL_SOCKET, annotate.socket.SO_REUSEADDR)
    assert bool(found) is shared


def test_a_console_of_few_characters_gets_question_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="cp1252"))
    with pytest.raises(UnicodeEncodeError):
        print("≥ 0.9")
    main._print_anything()
    print("→ ≥ 0.9", flush=True)
    assert raw.getvalue().strip() == b"? ? 0.9"


def test_compiled_loops_are_kept_where_a_place_can_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nowhere = {"HOME": "/nowhere", "USERPROFILE": "/nowhere"}
    kept = compiled.keeps_compiled_loops
    assert kept(tmp_path, nowhere) and kept(Path("/nowhere"), nowhere | {compiled.VARIABLE: str(tmp_path)})
    monkeypatch.setattr(compiled, "_writable", lambda folder: folder == tmp_path)
    assert not kept(Path("/nowhere"), nowhere) and not kept(Path("/nowhere"), {compiled.VARIABLE: "/nowhere"})
    monkeypatch.setattr(compiled, "os", types.SimpleNamespace(name="nt"))
    assert kept(Path("/nowhere"), {"LOCALAPPDATA": str(tmp_path)})
