"""Training patches without end: a pool of bodies on disk, and a new look, crop and scanner for every patch.

While a pool grows, later patches see more bodies; for a finished pool ``patch`` depends on nothing but its arguments.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vastus.errors import MissingInputError
from vastus.synthesis.protocols import ScanProtocol
from vastus.synthesis.recipe import LESION_BLOTCH_HU, SOFT_HU, Recipe, Shown, draw_recipe
from vastus.synthesis.scanner import Image, Textures, acquire, paint_hu
from vastus.synthesis.store import StoredBody, load_body
from vastus.synthesis.subject import TissueMap
from vastus.synthesis.surroundings import add_cloth, draw_couch, draw_forearms, lay_cloth, lowest_row
from vastus.synthesis.tissues import BONE_IDS, Tissue, any_of
from vastus.synthesis.view import Size, Spacing, WindowPlace, halves_of, patch_grid, patch_to_mm, sample_view
from vastus.synthesis.volume_kernels import gather_affine

IGNORE = 255
"""Label of voxels outside the scan or inside a lesion: no loss there."""
NO_IMAGE_HU = -1024.0
"""Outside the scan."""


class Pool:
    """Patches from a folder of bodies; see the module.

    Args:
        folder: what ``fill_pool`` made.
        texture_seed: of the textures.
        protocol: one setting of the scanner for all patches; None draws one for each.
    """

    _REFRESH = 100

    def __init__(self, folder: Path, texture_seed: int = 0, protocol: ScanProtocol | None = None) -> None:
        self.folder = folder
        self._texture_seed = texture_seed
        self._protocol = protocol
        self._textures: dict[Spacing, Textures] = {}
        self._calls = 0
        self.bodies: list[Path] = []
        self._refresh()

    def _refresh(self) -> None:
        self.bodies = sorted(self.folder.glob("body_*"))
        if not self.bodies:
            raise MissingInputError(
                "The pool holds no bodies.", path=self.folder, remedy="Fill it with `vastus synth --pool`."
            )

    def patch(
        self, seed: int, index: int, window_size: Size, spacing_mm: Spacing
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """One patch: HU (float32, -1024 outside the scan) and class ids (``IGNORE`` outside and in lesions)."""
        rng = np.random.default_rng([seed, index, 5])
        body = load_body(self.draw_body(rng))
        view = sample_view(body, window_size, spacing_mm, rng)
        shown = _gather(body, view, window_size, spacing_mm)
        textures = self._textures_of(shown.grid.spacing_mm)
        facts = Shown(lowest_row(shown.tissue), _has_metal(body, shown.tissue))
        recipe = draw_recipe(body, view, (window_size, spacing_mm), facts, rng, self._protocol)
        labels = body.labels[_centres(body, shown, view, window_size)]
        hu = _image(body, shown, recipe, textures, labels)
        covered = np.zeros(window_size, bool)
        covered[view.covered] = True
        hu[~covered] = NO_IMAGE_HU
        labels[~covered] = IGNORE
        return np.ascontiguousarray(hu, np.float32), np.ascontiguousarray(labels)

    def draw_body(self, rng: np.random.Generator) -> Path:
        """Choose a body; now and then the folder is looked at again."""
        self._calls += 1
        if self._calls % self._REFRESH == 0:
            self._refresh()
        return self.bodies[int(rng.integers(len(self.bodies)))]

    def _textures_of(self, spacing_mm: Spacing) -> Textures:
        if spacing_mm not in self._textures:
            self._textures[spacing_mm] = Textures(spacing_mm, self._texture_seed, resampled=True)
        return self._textures[spacing_mm]


def open_pool(folder: Path) -> Pool:
    """Open a folder that ``fill_pool`` made or is making."""
    return Pool(folder)


def _gather(body: StoredBody, view: WindowPlace, size: Size, spacing_mm: Spacing) -> TissueMap:
    """What of a body lies in a patch, on the grid on which it is painted."""
    halves, fine, tall = halves_of(size, spacing_mm)
    part, depth = gather_affine(body.part, body.depth, *view.in_halves(halves), np.array(tall))
    return TissueMap(patch_grid(body, view, fine, tall), part, depth, body.tissues[part])


def _centres(body: StoredBody, shown: TissueMap, view: WindowPlace, size: Size) -> NDArray[np.uint8]:
    """Part number at the middle of every voxel of the patch."""
    if shown.grid.shape == size:
        return shown.part
    part: NDArray[np.uint8] = gather_affine(body.part, body.depth, view.matrix, view.shift, np.array(size))[0]
    return part


def _has_metal(body: StoredBody, tissue: NDArray[np.uint8]) -> bool:
    return any(p.tissue == Tissue.METAL for p in body.parts) and bool((tissue == Tissue.METAL).any())


def _image(
    body: StoredBody, shown: TissueMap, recipe: Recipe, textures: Textures, labels: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """HU of a patch; ``labels`` become ``IGNORE`` inside a lesion (in place)."""
    hu = paint_hu(shown, body.length_mm, recipe.look, textures, recipe.starts)
    _surround(hu, body, shown, recipe)
    _add_lesion(hu, recipe, textures, labels)
    return _slices(acquire(hu, shown, recipe.exposure, textures), recipe)


def _surround(hu: Image, body: StoredBody, shown: TissueMap, recipe: Recipe) -> None:
    """Couch, cloth, forearms, and skin in fat (in place)."""
    air, tall = shown.tissue == Tissue.AIR, recipe.tall
    if recipe.couch is not None:
        draw_couch(hu, air, recipe.couch)
    if recipe.drape is not None:
        add_cloth(hu, shown.tissue, lay_cloth(shown.tissue, recipe.drape))
    if recipe.arms is not None:
        draw_forearms(hu, air, recipe.arms, patch_to_mm(body, recipe.matrix, recipe.shift, tall))
    if recipe.sheet is not None:
        skin = recipe.sheet.inside(*np.ogrid[: tall[0], : tall[1], : tall[2]])
        hu[skin & (shown.tissue == Tissue.FAT)] = recipe.sheet.hu


def _add_lesion(hu: Image, recipe: Recipe, textures: Textures, labels: NDArray[np.uint8]) -> None:
    """Soft tissue or fluid in place of what was there, without a label (in place)."""
    if recipe.lesion is None or recipe.filling is None:
        return
    tall = recipe.tall
    lesion = recipe.lesion.inside(*np.ogrid[: tall[0], : tall[1], : tall[2]])
    soft = lesion & (hu > SOFT_HU[0]) & (hu < SOFT_HU[1])
    blotch = textures.take(textures.blotch, tall, recipe.filling.start)
    hu[soft] = recipe.filling.hu + LESION_BLOTCH_HU * blotch[soft]
    labels[lesion[:, :, :: recipe.halves] & ~any_of(labels, BONE_IDS)] = IGNORE


def _slices(hu: Image, recipe: Recipe) -> Image:
    """Back to whole slices, with the profile that theirs have after resampling; a little gain and offset."""
    if recipe.halves > 1:
        hu = hu.reshape(hu.shape[0], hu.shape[1], -1, recipe.halves).mean(axis=3)
    padded = np.concatenate([hu[:, :, :1], hu, hu[:, :, -1:]], axis=2)
    hu = (1 - 2 * recipe.profile) * hu + recipe.profile * (padded[:, :, :-2] + padded[:, :, 2:])
    return np.asarray(hu * recipe.gain + recipe.offset_hu, np.float32)
