"""A bundle: one folder with trained weights and everything needed to use them rightly.

The layout is MONAI's: ``configs/metadata.json``, ``configs/inference.json``, ``models/``, ``docs/README.md``,
``LICENSE``. What Vastus itself reads is ``configs/vastus.json`` (``BundleInfo``) with a SHA-256 of every other file.
Nothing is downloaded and nothing is unpickled: weights are ONNX and safetensors.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any, Final

from vastus.anatomy import BACKGROUND_ID, BUILT_IN, StructureTable
from vastus.errors import BundleError, SettingsError
from vastus.io.atomic import write_text
from vastus.io.own_structures import entries_of, own_table
from vastus.preprocessing import PreprocessingSettings
from vastus.version import __version__

FORMAT_VERSION: Final = 1
INFO_FILE: Final = "configs/vastus.json"
METADATA_FILE: Final = "configs/metadata.json"
INFERENCE_FILE: Final = "configs/inference.json"
ONNX_FILE: Final = "models/model.onnx"
SAFETENSORS_FILE: Final = "models/model.safetensors"
INT8_FILE: Final = "models/int8.json"
CARD_FILE: Final = "docs/README.md"
LICENCE_FILE: Final = "LICENSE"
BACKGROUND_NAME: Final = "background"
DEFAULT_BUNDLE_NAME: Final = "hip-to-knee"
"""Folder name of the bundle shipped in ``vastus/weights``."""


class Precision(Enum):
    """Number format of a network's arithmetic."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Which network of the registry the weights belong to, and its arguments (plain JSON values)."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """What ``configs/vastus.json`` says.

    Attributes:
        name: of the bundle, e.g. ``hip-to-knee``.
        network: registry name and arguments.
        preprocessing: the settings the network was trained with.
        classes: structure key of each output channel; channel 0 is ``background``.
        trained_on: plain text for the page and the card: what data the weights have seen.
        licence: SPDX name.
        metrics: name -> value, as measured on validation data.
        precisions: which precisions were checked on the trained weights against fp32 (>= 99.5% of foreground voxels
            equal, mean Dice within 0.002). bf16 and int8 are used by default only if they are here. int8 is here if
            ``tools/quantise.py`` found mean Dice within 0.003, and that of every muscle within 0.01.
        overlap: share by which neighbouring windows overlap, measured as the smallest that costs no accuracy.
        vastus_version: that wrote the bundle.
        format_version: of this file.
        files: relative path -> SHA-256, every file but this one. Filled by ``write_bundle_files``.
        table: of the structures; it stands in the file only where it is not the built-in one.
    """

    name: str
    network: NetworkSpec
    preprocessing: PreprocessingSettings
    classes: tuple[str, ...]
    trained_on: str
    licence: str = "Apache-2.0"
    metrics: Mapping[str, float] = field(default_factory=dict)
    precisions: tuple[Precision, ...] = (Precision.FP32,)
    overlap: float = 0.25
    vastus_version: str = __version__
    format_version: int = FORMAT_VERSION
    files: Mapping[str, str] = field(default_factory=dict)
    table: StructureTable = BUILT_IN

    def __post_init__(self) -> None:
        """Refuse classes that the table of structures does not know, and an impossible overlap."""
        if len(self.classes) < 2 or self.classes[0] != BACKGROUND_NAME:
            raise BundleError(f"A bundle's classes start with '{BACKGROUND_NAME}' and hold at least one structure.")
        unknown = sorted(set(self.classes[1:]) - set(self.table.by_key))
        if unknown or len(set(self.classes)) != len(self.classes):
            raise BundleError(f"The classes of a bundle must be different structures; unknown: {', '.join(unknown)}.")
        if not 0.0 <= self.overlap < 1.0:
            raise BundleError(f"The overlap must lie in 0..1, got {self.overlap}.")

    @property
    def class_ids(self) -> tuple[int, ...]:
        """Class id of each output channel, in the table of structures."""
        return (BACKGROUND_ID, *(self.table.by_key[key].class_id for key in self.classes[1:]))

    def to_json(self) -> str:
        """Return the text of ``configs/vastus.json``."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values |= {
            "network": {"name": self.network.name, "arguments": dict(self.network.arguments)},
            "preprocessing": self.preprocessing.to_dict(),
            "precisions": [p.value for p in self.precisions],
            "metrics": dict(self.metrics),
            "files": dict(self.files),
        }
        del values["table"]
        if not self.table.is_built_in:
            values["table"] = entries_of(self.table)
        return json.dumps(values, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> BundleInfo:
        """Read the result of ``to_json``.

        Raises:
            BundleError: not JSON, another format version, fields missing, unknown or malformed.
        """
        try:
            values = json.loads(text)
            version = values["format_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError("The description of the weights is not a Vastus bundle's.") from error
        if version != FORMAT_VERSION:
            raise BundleError(
                f"These weights have format version {version}, this Vastus reads {FORMAT_VERSION}.",
                remedy="Use weights and program of the same release.",
            )
        odd = sorted({"table", *values} ^ {f.name for f in dataclasses.fields(cls)})
        if odd:
            raise BundleError(f"Bundle fields missing or unknown: {', '.join(odd)}.")
        try:
            values |= {
                "network": NetworkSpec(**values["network"]),
                "preprocessing": PreprocessingSettings.from_dict(values["preprocessing"]),
                "classes": tuple(values["classes"]),
                "precisions": tuple(Precision(p) for p in values["precisions"]),
                "files": {_safe(path): str(digest) for path, digest in values["files"].items()},
                "table": own_table(values["table"]) if "table" in values else BUILT_IN,
            }
            return cls(**values)
        except (SettingsError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(f"The description of the weights is malformed: {error}") from error


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk whose files were checked.

    Attributes:
        folder: where it lies.
        info: what it says about itself.
        digest: SHA-256 of ``configs/vastus.json``; as that file names the hashes of all others, it names the weights.
    """

    folder: Path
    info: BundleInfo
    digest: str

    @property
    def onnx_path(self) -> Path:
        """The network as ONNX: input (N, 1, X, Y, Z), output logits (N, C, X, Y, Z), float32."""
        return self.folder / ONNX_FILE

    @property
    def int8_path(self) -> Path:
        """What goes into each convolution, for int8 (``vastus.inference.int8``)."""
        return self.folder / INT8_FILE

    @property
    def safetensors_path(self) -> Path:
        """The same weights for torch: to fine-tune, or to run on a GPU."""
        return self.folder / SAFETENSORS_FILE


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle and check the SHA-256 of every file it names.

    Args:
        folder: of the bundle, or the name of one that comes with the package (``shipped_bundles``).

    Raises:
        BundleError: not a bundle, a file missing or changed, another format version.
    """
    if not folder.exists() and folder.name == str(folder) and folder.name in shipped_bundles():
        folder = _SHIPPED / folder.name
    path = folder / INFO_FILE
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(
            f"No weights here: a bundle is a folder with {INFO_FILE} in it.",
            path=folder,
            remedy=f"Check --weights; with the package come: {', '.join(shipped_bundles())}.",
        ) from error
    try:
        info = BundleInfo.from_json(text)
    except BundleError as error:
        raise BundleError(error.problem, path=path, remedy=error.remedy) from error
    needed = (ONNX_FILE, INT8_FILE) if Precision.INT8 in info.precisions else (ONNX_FILE,)
    for name in needed:
        if name not in info.files:
            raise BundleError(f"The bundle does not name {name}.", path=folder)
    for name, expected in info.files.items():
        try:
            found = sha256_of(folder / name)
        except OSError as error:
            raise BundleError("A file of the bundle is missing.", path=folder / name, remedy=_COPY_AGAIN) from error
        if found != expected:
            raise BundleError(
                "A file of the bundle is damaged or was changed (its SHA-256 differs).",
                path=folder / name,
                remedy=_COPY_AGAIN,
            )
    _refuse_unnamed(folder, info)
    return Bundle(folder, info, hashlib.sha256(raw).hexdigest())


def _refuse_unnamed(folder: Path, info: BundleInfo) -> None:
    """Refuse weights that no hash covers: tensors outside the ONNX file, and those for torch."""
    from vastus.inference.onnx_files import external_files

    used = {
        posixpath.normpath(f"{PurePosixPath(ONNX_FILE).parent}/{name}") for name in external_files(folder / ONNX_FILE)
    }
    if (folder / SAFETENSORS_FILE).exists():
        used.add(SAFETENSORS_FILE)
    unnamed = sorted(used - info.files.keys())
    if unnamed:
        raise BundleError(
            f"The bundle computes with {', '.join(unnamed)}, but {INFO_FILE} names no SHA-256 of it.",
            path=folder,
            remedy="Export the weights again with `vastus export`, or take them from a source you trust.",
        )


_COPY_AGAIN = "Copy or install the bundle again."


_SHIPPED = Path(__file__).parent.parent / "weights"


def shipped_bundles() -> tuple[str, ...]:
    """Return the names of the shipped bundles; ``load_bundle`` and ``--weights`` take them like a path."""
    return tuple(sorted(path.parent.parent.name for path in _SHIPPED.glob(f"*/{INFO_FILE}")))


def default_bundle_folder() -> Path:
    """Return the folder of the default bundle."""
    return _SHIPPED / DEFAULT_BUNDLE_NAME


def default_bundle() -> Bundle:
    """Load the default bundle: the one that is used if none is named."""
    return load_bundle(default_bundle_folder())


def write_bundle_files(
    folder: Path, info: BundleInfo, *, card: str, licence: str, inference: Mapping[str, Any] | None = None
) -> BundleInfo:
    """Finish a bundle whose ``models/`` lie in ``folder``: write texts, hashes and description.

    Args:
        folder: holds ``models/model.onnx`` (and ``models/model.safetensors``) already.
        info: the description; its ``files`` are replaced.
        card: the model card, Markdown.
        licence: full licence text.
        inference: entries added to ``configs/inference.json`` (e.g. ``network_def`` for MONAI).

    Returns:
        The description with the hashes, as written.
    """
    if not (folder / ONNX_FILE).is_file():
        raise BundleError(f"Write {ONNX_FILE} before the bundle's texts.", path=folder)
    for sub in ("configs", "docs"):
        (folder / sub).mkdir(exist_ok=True)
    write_text(folder / CARD_FILE, card)
    write_text(folder / LICENCE_FILE, licence)
    write_text(folder / METADATA_FILE, json.dumps(_metadata(info), indent=2) + "\n")
    write_text(folder / INFERENCE_FILE, json.dumps(_inference_config(info) | dict(inference or {}), indent=2) + "\n")
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    files = {name: sha256_of(folder / name) for name in names if name != INFO_FILE}
    written = dataclasses.replace(info, files=files)
    write_text(folder / INFO_FILE, written.to_json())
    return written


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file, as hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _safe(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"the file name {name} leads out of the bundle")
    return name


def _metadata(info: BundleInfo) -> dict[str, Any]:
    """Make MONAI's ``metadata.json``: it tells other tools the input and the output of the network."""
    window = list(info.preprocessing.window_size)
    image = {
        "type": "image",
        "format": "hounsfield",
        "modality": "CT",
        "num_channels": 1,
        "spatial_shape": window,
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": True,
        "channel_def": {"0": "image"},
    }
    logits = {
        "type": "image",
        "format": "labels",
        "modality": "n/a",
        "num_channels": len(info.classes),
        "spatial_shape": window,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(i): name for i, name in enumerate(info.classes)},
    }
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
        "meta_schema_20240725.json",
        "version": info.vastus_version,
        "changelog": {info.vastus_version: "see the model card, docs/README.md"},
        "monai_version": _installed("monai"),
        "pytorch_version": _installed("torch"),
        "numpy_version": _installed("numpy"),
        "required_packages_version": {name: _installed(name) for name in ("pytorch-ignite", "fire", "safetensors")},
        "name": info.name,
        "task": "Segmentation of single thigh and hip muscles, femur and hip bone in CT"
        if info.table.is_built_in
        else "Segmentation of the structures named in channel_def, in CT",
        "description": info.trained_on,
        "authors": "the Vastus developers",
        "copyright": "Copyright (c) the Vastus developers",
        "license": info.licence,
        "intended_use": "Research only; not a medical device.",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": logits}},
        "eval_metrics": dict(info.metrics),
    }


def _installed(package: str) -> str:
    """Return the version with which the bundle was written; MONAI's form needs a text in any case."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _inference_config(info: BundleInfo) -> dict[str, Any]:
    """Make MONAI's ``inference.json``, reduced to settings and inferer, which do not depend on the network."""
    settings = info.preprocessing
    return {
        "bundle_root": ".",
        "pixdim": list(settings.spacing_mm),
        "hu_window": list(settings.hu_window),
        "gamma": settings.gamma,
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": list(settings.window_size),
            "overlap": info.overlap,
            "mode": "gaussian",
        },
    }
