import pytest

from vastus.cohort.clinical_table import read_clinical_table
from vastus.cohort.example import write_example
from vastus.cohort.results import analyse
from vastus.cohort.selection import load_rules
from vastus.cohort.volumes_table import read_volumes
from vastus.sarcopenia import load_criteria


@pytest.fixture(scope="session")
def example(tmp_path_factory):
    """Paths (volumes, clinical) of the simulated cohort with seed 0."""
    return write_example(tmp_path_factory.mktemp("example"), seed=0)


@pytest.fixture(scope="session")
def results(example):
    volumes, clinical = example
    return analyse(read_volumes(volumes), read_clinical_table(clinical), load_criteria("awgs_2019"), load_rules())
