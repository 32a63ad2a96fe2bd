"""Options about the network, the same in every command that labels scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vastus.inference.choices import Device, PrecisionChoice, RuntimeName

WeightsOption = Annotated[
    Path | None, typer.Option("--weights", help="Folder of a bundle, or the name of a shipped one.")
]
DeviceOption = Annotated[Device, typer.Option("--device", help="Device on which the network runs.")]
RuntimeOption = Annotated[RuntimeName, typer.Option("--runtime", help="Program that runs the network.")]
PrecisionOption = Annotated[
    PrecisionChoice,
    typer.Option("--precision", help="Number format; auto: the fastest one that was checked for these weights."),
]
OverlapOption = Annotated[
    float | None,
    typer.Option("--overlap", min=0.0, max=0.9, help="Overlap of windows, 0 to 0.9; default: that of the bundle."),
]
