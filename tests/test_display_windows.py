import re
from pathlib import Path

from vastus.display_windows import IN_THE_VIEWER, MUSCLE, SOFT_TISSUE

SCRIPTS = Path(__file__).parents[1] / "src" / "vastus" / "annotation" / "viewer" / "js"
PRESET = re.compile(r'^\s*(\w+): \{ name: "([^"]+)", range: \[(-?\d+), (-?\d+)\] \}', flags=re.MULTILINE)


def test_the_viewer_offers_the_windows_of_the_table() -> None:
    found = [match for script in sorted(SCRIPTS.glob("*.js")) for match in PRESET.findall(script.read_text("utf-8"))]
    wanted = [(key, w.title, f"{w.low_hu:.0f}", f"{w.high_hu:.0f}") for key, w in IN_THE_VIEWER.items()]
    assert found == wanted


def test_the_muscle_window_of_the_page_lies_inside_the_soft_tissue_window() -> None:
    assert SOFT_TISSUE.low_hu <= MUSCLE.low_hu < MUSCLE.high_hu <= SOFT_TISSUE.high_hu
