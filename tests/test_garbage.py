import gc

import pytest

from vastus.garbage import no_collecting, search_rarely


@pytest.fixture
def restored():
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)  # another test may have searched rarely before
    yield gc.get_threshold()
    gc.set_threshold(*before)
    gc.unfreeze()


def test_garbage_is_searched_for_less_often_but_still_found(restored):
    search_rarely()
    assert gc.get_threshold()[0] >= 50 * restored[0] and gc.isenabled()
    circle = []
    circle.append(circle)
    del circle
    assert gc.collect() > 0


def test_nothing_is_collected_while_libraries_load():
    assert gc.isenabled()
    with no_collecting():
        assert not gc.isenabled()
        with no_collecting():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
