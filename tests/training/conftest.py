import pytest


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tiny networks gain nothing from threads, and lose much where the machine is busy."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
