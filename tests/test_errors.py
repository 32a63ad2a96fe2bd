from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from vastus import errors
from vastus.errors import InputError, MissingExtraError, OutputError, UnreadableScanError, VastusError


def every_error(base: type[VastusError] = VastusError) -> list[type[VastusError]]:
    return [base] + [kind for child in base.__subclasses__() for kind in every_error(child)]


def test_message_says_what_where_and_what_to_do():
    error = UnreadableScanError("The file is empty.", path="scans/a.nii", remedy="Export it again.")
    assert str(error) == "The file is empty. [scans/a.nii] Export it again."
    assert (error.problem, error.path, error.remedy) == ("The file is empty.", Path("scans/a.nii"), "Export it again.")


def test_message_without_file_and_remedy_is_the_problem_alone():
    assert str(OutputError("Full.")) == "Full."
    assert OutputError("Full.").path is None


def test_missing_extra_names_the_command():
    assert "pip install 'vastus[train]'" in str(MissingExtraError("Training", "train"))


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_exit_codes_are_never_success_nor_a_signal(kind: type[VastusError]):
    assert 0 < kind.exit_code < 126
    assert kind.__module__ != errors.__name__ or kind.__doc__


def test_all_input_errors_share_one_code_and_the_others_differ():
    own = [kind for kind in VastusError.__subclasses__() if kind.__module__ == errors.__name__]
    assert len({kind.exit_code for kind in own}) == len(own)
    assert {kind.exit_code for kind in every_error(InputError)} == {2}


def test_errors_survive_the_way_between_processes():
    error = pickle.loads(pickle.dumps(UnreadableScanError("Empty.", path="a.nii", remedy="Again.")))
    assert isinstance(error, UnreadableScanError)
    assert str(error) == "Empty. [a.nii] Again."
