"""Windows of the analytic phantom, shifted, scaled and of another density each time: data that need no file."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import affine_transform

from vastus.anatomy import BY_VALUE
from vastus.preprocessing import PreprocessingSettings, normalise_hu
from vastus.synthesis.phantom import make_phantom
from vastus.training.sources import Patch

_TO_CLASS = np.zeros(256, dtype=np.uint8)
for _value, _label in BY_VALUE.items():
    _TO_CLASS[_value] = _label.structure.class_id


@dataclass
class PhantomSource:
    settings: PreprocessingSettings
    seed: int = 0
    _phantom: tuple[np.ndarray, np.ndarray] | None = field(default=None, repr=False)

    def _volumes(self) -> tuple[np.ndarray, np.ndarray]:
        if self._phantom is None:
            scan = make_phantom(self.settings.spacing_mm, noise_hu=0.0)
            self._phantom = (scan.ct.array.astype(np.float32), _TO_CLASS[scan.labels.array])
        return self._phantom

    def patch(self, index: int) -> Patch:
        hu, labels = self._volumes()
        rng = np.random.default_rng((self.seed, index))
        window = np.array(self.settings.window_size)
        scale = rng.uniform(0.92, 1.08, 3)
        room = np.maximum(np.array(hu.shape) - window * scale, 0)
        start = rng.uniform(0, 1, 3) * room
        matrix = {"matrix": scale, "offset": start, "output_shape": tuple(window), "mode": "constant"}
        image = affine_transform(hu, order=1, cval=-1000.0, **matrix)
        ids = affine_transform(labels, order=0, cval=0, **matrix)
        image = image + rng.normal(0, 15, image.shape) + rng.uniform(-15, 15)
        return Patch(normalise_hu(image, self.settings), ids.astype(np.uint8))
