"""The HU window of the network stands in its bundle; what docs and model cards say of it must be the same."""

import json
import re
from pathlib import Path

import pytest

from vastus.inference.bundle import default_bundle
from vastus.training.networks import DEFAULT_NETWORK, NETWORKS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WEIGHTS = sorted(path.parent.parent for path in (ROOT / "src" / "vastus" / "weights").glob("*/docs/README.md"))
CLAIM = re.compile(r"network reads\D{0,40}?([-−]?\d+)\D{1,6}?([-−]?\d+) HU", flags=re.IGNORECASE)


def claims(text: str) -> list[tuple[float, float]]:
    joined = " ".join(text.split())
    return [(float(low.replace("−", "-")), float(high.replace("−", "-"))) for low, high in CLAIM.findall(joined)]


def test_a_claim_is_seen_however_it_is_broken() -> None:
    assert claims("The network reads\n   −57 to 164 HU.") == [(-57.0, 164.0)]
    assert claims("the range the network reads, -150..250 HU") == [(-150.0, 250.0)]


def test_the_docs_say_what_the_network_of_the_bundle_reads() -> None:
    said = {page.name: claims(page.read_text(encoding="utf-8")) for page in PAGES}
    window = default_bundle().info.preprocessing.hu_window
    assert said["how-to-read-the-page.md"] == [window]
    assert {claim for found in said.values() for claim in found} == {window}


@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda path: path.name)
def test_a_model_card_says_what_its_network_reads(weights: Path) -> None:
    low, high = json.loads((weights / "configs" / "inference.json").read_text(encoding="utf-8"))["hu_window"]
    assert f"window {low:g}..{high:g} HU" in (weights / "docs" / "README.md").read_text(encoding="utf-8")


def test_a_new_network_is_trained_with_the_window_of_the_shipped_one() -> None:
    assert NETWORKS[DEFAULT_NETWORK].settings.hu_window == default_bundle().info.preprocessing.hu_window
