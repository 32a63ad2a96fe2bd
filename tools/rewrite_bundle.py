"""Write a bundle's texts for MONAI and its hashes anew; the weights, the card and the licence stay byte for byte.

    python tools/rewrite_bundle.py src/vastus/weights/unet

For bundles that were exported before their ``configs`` had a workflow. Needs the extra ``train``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vastus.inference.bundle import CARD_FILE, LICENCE_FILE, load_bundle, write_bundle_files
from vastus.training.export import monai_entries


def main() -> int:
    """Rewrite one bundle in place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    folder: Path = parser.parse_args().bundle
    info = load_bundle(folder).info
    card, licence = ((folder / name).read_text(encoding="utf-8") for name in (CARD_FILE, LICENCE_FILE))
    write_bundle_files(folder, info, card=card, licence=licence, inference=monai_entries(info))
    load_bundle(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
