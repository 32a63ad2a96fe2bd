"""Requests made up from the OpenAPI description: whatever comes, the server does not fail."""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from annotation_server import ONE_THREAD, label_bytes, make_project, phantom, toy_model
from vastus.annotation.project.project import Project, ServerSettings

pytest.importorskip("fastapi")
schemathesis = pytest.importorskip("schemathesis")

KNOWN = {
    "case_id": "scan0",
    "image": "scan0",
    "label": "scan0",
    "version": 1,
    "model": "toy",
    "finding_id": "1-f0001",
    "parent": 1,
    "tag": "final",
    "strategy": "random",
    "name": "toy",
}
EXAMPLES = 8
DICE = random.Random(1)


REAL: list[bytes] = []


@schemathesis.serializer("application/gzip")
def as_bytes(_context: Any, value: Any) -> bytes:
    """A label map that fits, or anything at all."""
    return (
        REAL[0] if DICE.random() < 0.5 else value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
    )


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from vastus.annotation.http.app import create_app, guarded
    from vastus.io.labels import read_labels

    folder = tmp_path_factory.mktemp("fuzz")
    project = make_project(folder / "project", 2)
    model = toy_model(folder / "toy")
    project = Project(ServerSettings(project, model, ONE_THREAD, hosts=frozenset({"testserver", "localhost"})))
    REAL.append(label_bytes(phantom(0).labels, folder))
    from vastus.annotation.project.store import Draft, Kind

    project.save("scan0", Draft(Kind.HUMAN, "anna", tag="final"), read_labels(folder / "label.nii.gz"))
    app = create_app(project)
    schema = schemathesis.openapi.from_asgi("/openapi.json", guarded(app, project))

    @schema.hook("map_path_parameters")
    def sometimes_known_path(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
        return _sometimes_known(path_parameters)

    @schema.hook("map_query")
    def sometimes_known_query(context: Any, query: dict[str, Any] | None) -> dict[str, Any] | None:
        return _sometimes_known(query)

    yield schema
    project.close()


def _sometimes_known(values: dict[str, Any] | None) -> dict[str, Any] | None:
    """Mostly names that exist, so that the requests get beyond 'no such case'."""
    if values:
        for name in set(values) & set(KNOWN):
            if DICE.random() < 0.7:
                values[name] = KNOWN[name]
    return values


@pytest.mark.slow
def test_no_request_makes_the_server_fail(described: Any) -> None:
    answered: Counter[int] = Counter()
    operations = [found.ok() for found in described.get_all_operations()]
    for operation in operations:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy())
        def ask(case: Any) -> None:
            # Not its 10 s: on a new machine the first request for the network waits for loops to be compiled.
            response = case.call(timeout=240)
            answered[response.status_code // 100] += 1
            assert response.status_code < 500, (case.method, case.path, response.status_code, response.text[:300])
            if response.status_code >= 400:
                assert response.json()["error"] and "Traceback" not in response.text

        ask()
    assert len(operations) > 40
    assert answered[2] > len(operations), f"nearly all was refused, so that little was tried: {answered}"


def test_the_description_names_all_routes(described: Any) -> None:
    paths = set(described.raw_schema["paths"])
    assert {"/info/", "/infer/{model}", "/datastore/label", "/activelearning/{strategy}", "/train/{model}"} <= paths
    assert {
        "/api/cases",
        "/api/cases/{case_id}/versions",
        "/api/cases/{case_id}/tools/{tool}",
        "/api/findings",
    } <= paths
