"""The label map of the viewer (labels.js), alone, in the browser it runs in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from viewer_page import Viewer

BEGIN = """async () => {
    const { LabelMap, Rule, diceOfEach } = await import("/viewer/js/labels.js");
    const { thinned, niftiOf } = await import("/viewer/js/nifti.js");
    const empty = (n = 40) => new LabelMap(new Uint8Array(n ** 3), [n, n, n], [1, 1, 2]);
    const draw = (map, rule, what) => { map.begin(rule); what(map); return map.end(); };
"""


@pytest.fixture
def run(open_viewer: Callable[..., Viewer]) -> Callable[[str], Any]:
    viewer = open_viewer()
    return lambda body: viewer.page.evaluate(BEGIN + body + "}")


def test_label_map(run: Callable[[str], Any]) -> None:
    dab, ball = run(
        """const a = empty(), b = empty();
        draw(a, new Rule(7), m => m.dab([20, 20, 20], 0, 9));
        draw(b, new Rule(7), m => m.dab([20, 20, 20], 0, 9, true));
        return [a.counts[7], b.counts[7] * 2];"""
    )
    assert dab == pytest.approx(math.pi * 9**2, rel=0.05)  # a disc of 9 mm in voxels of 1 mm
    assert ball == pytest.approx(4 / 3 * math.pi * 9**3, rel=0.05)  # a ball in voxels of 2 mm3
    # A triangle with legs of 20 voxels, drawn as an outline.
    area = run(
        """const a = empty();
        draw(a, new Rule(7), m => m.fill([[5, 5, 3], [25, 5, 3], [5, 25, 3]], 0));
        return a.counts[7];"""
    )
    assert area == pytest.approx(21 * 22 / 2, abs=1)  # the voxel centres in it, its edges included
    kept, erased, bright = run(
        """const a = empty();
        draw(a, new Rule(5), m => m.dab([20, 20, 20], 0, 4));
        const five = a.counts[5];
        draw(a, new Rule(7, { keepOthers: true }), m => m.dab([20, 20, 20], 0, 8));
        const kept = a.counts[5] === five;
        draw(a, new Rule(0, { keepOthers: true, erases: 7 }), m => m.dab([20, 20, 20], 0, 8));
        const erased = [a.counts[5] === five, a.counts[7]];
        draw(a, new Rule(9, { hu: { min: 0, max: 50, at: i => i % 2 ? 10 : 90 } }), m => m.dab([20, 20, 5], 0, 3));
        return [kept, erased, a.voxels.every((v, i) => v !== 9 || i % 2 === 1) && a.counts[9] > 0];"""
    )
    assert kept and erased == [True, 0] and bright
    undone, redone, over = run(
        """const a = empty();
        draw(a, new Rule(5), m => m.line([5, 5, 5], [30, 12, 5], 0, 2));
        const first = a.voxels.slice();
        draw(a, new Rule(7), m => m.dab([10, 6, 5], 0, 5));
        const second = a.voxels.slice();
        const same = (x, y) => x.every((v, i) => v === y[i]);
        a.undo();
        const undone = same(a.voxels, first) && a.counts[7] === 0;
        a.redo();
        const redone = same(a.voxels, second);
        return [undone, redone, [a.undo(), a.undo(), a.undo()]];"""
    )
    assert undone and redone and over == [True, True, False]
    poured = run(
        """const a = empty();
        draw(a, new Rule(5), m => { m.dab([10, 10, 5], 0, 3); m.dab([30, 30, 5], 0, 3); m.dab([10, 10, 6], 0, 3); });
        const five = a.counts[5];
        draw(a, new Rule(7), m => m.pour([10, 10, 5], 0));
        return [a.counts[7], five];"""
    )
    assert poured[0] * 3 == poured[1]  # one island of one slice
    middle = run(
        """const a = empty();
        draw(a, new Rule(5), m => { m.dab([10, 12, 5], 0, 3); m.dab([30, 31, 9], 0, 6); });
        return [a.middleOf(5), a.middleOf(6)];"""
    )
    assert middle == [[30, 31, 9], None]
    dice = run("return diceOfEach(Uint8Array.of(0, 1, 1, 2), Uint8Array.of(0, 1, 0, 2)).slice(0, 4);")
    assert dice[:3] == [pytest.approx(2 / 3), pytest.approx(2 / 3), 1]
    assert math.isnan(dice[3])  # in neither of the two


def test_thinning_keeps_place_and_values(run: Callable[[str], Any]) -> None:
    dims, values, affine = run(
        """const a = empty();
        draw(a, new Rule(5), m => m.dab([20, 20, 20], 0, 9, true));
        const keep = Uint8Array.from({ length: 256 }, (_, v) => v);
        const small = thinned(a.voxels, a.dims, a.spacing, 20, keep);
        const view = new DataView(niftiOf(small, Float32Array.of(1, 0, 0, -3, 0, 1, 0, 4, 0, 0, 2, 5, 0, 0, 0, 1)));
        const at = small.voxels[5 + 5 * small.dims[0] + 10 * small.dims[0] * small.dims[1]];
        return [small.dims, [at, small.voxels[0]],
            [280, 284, 292, 296, 300, 320, 324].map(o => view.getFloat32(o, true))];"""
    )
    assert dims == [10, 10, 20]
    assert values == [5, 0]
    assert affine == [4, 0, -3, 0, 4, 4, 5]
