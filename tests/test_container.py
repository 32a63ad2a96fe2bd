"""Dockerfile and compose.yaml as far as they can be checked without Docker."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from vastus.node.config import NodeConfig, load_config

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[1]
FILES = ("Dockerfile", "compose.yaml", ".dockerignore", "docker/node.toml")


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with their arguments, lines joined, comments gone."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def of(kind: str) -> list[str]:
    return [rest for word, rest in DOCKERFILE if word == kind]


DOCKERFILE = instructions((ROOT / "Dockerfile").read_text(encoding="utf-8"))
SERVICE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["node"]


@pytest.fixture(scope="module")
def config() -> NodeConfig:
    return load_config(ROOT / "docker" / "node.toml")


def test_instructions_are_read_as_docker_reads_them() -> None:
    assert instructions("# a\nFROM x\nRUN a \\\n    # why\n    && b\n") == [("FROM", "x"), ("RUN", "a && b")]


def test_only_known_instructions_stand_there() -> None:
    known = {
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "LABEL",
        "ENV",
        "USER",
        "VOLUME",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "CMD",
    }
    assert {word for word, _ in DOCKERFILE} == known


def test_it_runs_as_a_numbered_user_that_is_not_root() -> None:
    (user,) = of("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert SERVICE["user"] == user
    last = [word for word, _ in DOCKERFILE]
    assert last.index("USER") > last.index("COPY") and "USER" not in last[last.index("CMD") :]
    owners = re.findall(r"--(?:owner|uid) (\d+)", " ".join(of("RUN")))
    assert set(owners) == {user.partition(":")[0]}


def test_it_has_few_rights() -> None:
    assert SERVICE["read_only"] is True and SERVICE["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in SERVICE["security_opt"] and "privileged" not in SERVICE


@pytest.mark.parametrize("name", FILES)
def test_no_host_of_packages_is_named(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    hosts = re.findall(r"https?://([^/:'\"\s]+)", text)
    assert set(hosts) <= {"127.0.0.1"}
    assert not re.search(r"index-url|trusted-host|pypi|ghcr|quay\.io|docker\.io|registry", text)


def test_what_it_copies_is_there_and_not_left_out() -> None:
    given = [rest.split()[:-1] for rest in of("COPY") if not rest.startswith("--from")]
    bound = re.findall(r"--mount=type=bind,source=([^,\s]+)", " ".join(of("RUN")))
    names = {name for names in given for name in names} | set(bound)
    assert names and all((ROOT / name).exists() for name in names)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert ignored[0] == "*" and {f"!{name}" for name in names} == {line for line in ignored if line.startswith("!")}


def test_the_package_can_be_built_of_what_it_copies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    copied = {name for rest in of("COPY") for name in rest.split()}
    assert {"pyproject.toml", "src", project["readme"], *project["license-files"]} <= copied
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", " ".join(of("RUN")))
    assert set(extras.split(",")) <= set(project["optional-dependencies"]) and "dicom" in extras


def test_the_pythons_of_both_stages_are_the_same_and_new_enough() -> None:
    first, second = (rest.split()[0] for rest in of("FROM"))
    assert first == second
    found = re.match(r"python:(\d+)\.(\d+)-slim-\w+$", first)
    assert found and (int(found[1]), int(found[2])) >= (3, 11)


def test_what_is_written_lies_on_volumes(config: NodeConfig) -> None:
    volumes = json.loads(of("VOLUME")[0])
    mounted = [place.split(":")[1] for place in SERVICE["volumes"]]
    assert config.data.as_posix() == "/data" and {"/data", "/var/cache/vastus"} == set(volumes) <= set(mounted)
    written = re.findall(r"(?:NUMBA_CACHE_DIR|VASTUS_CACHE_DIR|MPLCONFIGDIR)=(\S+)", of("ENV")[0])
    assert len(written) == 3 and all(any(path.startswith(volume) for volume in volumes) for path in written)
    assert any(place.startswith("/tmp") for place in SERVICE["tmpfs"])


def test_the_settings_are_where_the_command_looks_for_them() -> None:
    command = json.loads(of("CMD")[0])
    assert command[:2] == ["vastus", "node"]
    source, place, mode = SERVICE["volumes"][0].split(":")
    assert place == command[command.index("--config") + 1] and mode == "ro" and (ROOT / source).is_file()


def test_ports_agree_with_the_settings_and_the_documentation(config: NodeConfig) -> None:
    page = (ROOT / "docs" / "how-to-node.md").read_text(encoding="utf-8")
    documented = {name: int(value) for name, value in re.findall(r"^(port|status_port) = (\d+)", page, re.MULTILINE)}
    assert documented == {"port": config.port, "status_port": config.status_port}
    assert of("EXPOSE") == [str(config.port)]
    assert [port.split(":")[-2:] for port in SERVICE["ports"]] == [[str(config.port), str(config.port)]]
    assert f"127.0.0.1:{config.status_port}/metrics" in of("HEALTHCHECK")[0]


def test_the_network_sees_the_node_only_when_it_is_told_to(config: NodeConfig) -> None:
    assert config.listen == "0.0.0.0" and config.allow
    assert all(port.startswith("127.0.0.1:") for port in SERVICE["ports"])


def test_loops_are_compiled_when_the_image_is_built_by_the_user_who_needs_them() -> None:
    words = [word for word, _ in DOCKERFILE]
    (warm,) = [n for n, (word, rest) in enumerate(DOCKERFILE) if word == "RUN" and "vastus segment" in rest]
    assert warm > words.index("USER") and warm < words.index("VOLUME"), "what a volume's folder gets later is lost"
    assert "vastus doctor" in DOCKERFILE[warm][1]


def test_pythons_own_library_is_compiled_while_root_can_write_to_it() -> None:
    words = [word for word, _ in DOCKERFILE]
    (line,) = [n for n, (word, rest) in enumerate(DOCKERFILE) if word == "RUN" and "compileall" in rest]
    last_stage = len(words) - 1 - words[::-1].index("FROM")
    assert last_stage < line < words.index("USER")


@pytest.mark.parametrize("name", ["docs/how-to-node.md", "compose.yaml"])
def test_it_is_said_that_it_was_built_on_a_stand_in(name: str) -> None:
    assert "on a stand-in for the base image" in (ROOT / name).read_text(encoding="utf-8")
