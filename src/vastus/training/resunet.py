"""``ResUNet``: the residual U-Net that Vastus trains by default, built for short steps on a CPU.

The heavy work happens at half the in-plane resolution: a strided stem halves x and y (not z, whose voxels are
already twice as long), so that the inside of the network sees cubes of about 4 mm. A light head brings the features
back to full resolution and joins them with a few channels computed straight from the image, which carry the edges.
Group norm, leaky ReLU and plain convolutions only: all of it runs in ONNX Runtime and OpenVINO.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

_SLOPE = 0.01
_GROUP_CHANNELS = 8
DEFAULT_CHANNELS = (32, 64, 96, 128, 160)


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions with a shortcut; the first may halve all three axes."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.first = nn.Conv3d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.first_norm = _norm(channels_out)
        self.second = nn.Conv3d(channels_out, channels_out, 3, padding=1, bias=False)
        self.second_norm = _norm(channels_out)
        same = channels_in == channels_out and stride == 1
        self.shortcut: nn.Module = nn.Identity() if same else nn.Conv3d(channels_in, channels_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, X, Y, Z) -> (B, channels_out, X / stride, Y / stride, Z / stride)."""
        y = functional.leaky_relu(self.first_norm(self.first(x)), _SLOPE)
        y = self.second_norm(self.second(y))
        reduced = functional.avg_pool3d(x, 2) if self.stride == 2 else x
        return functional.leaky_relu(y + self.shortcut(reduced), _SLOPE)


class ResUNet(nn.Module):
    """Residual U-Net with an in-plane strided stem and a light full-resolution head.

    Args:
        class_count: logits a voxel, background included.
        channels: features of each level, finest first; every further level halves all axes.
        encoder_blocks: residual blocks of each level on the way down.
        head_channels: features at full resolution, half of them straight from the image.

    In training mode the result is ``(logits, auxiliary logits at half the in-plane resolution)``, else the logits.
    Steps that train on the auxiliary logits alone (``coarse_only``) cost about half: names are learnt there, edges not.
    """

    def __init__(
        self,
        class_count: int,
        channels: tuple[int, ...] = DEFAULT_CHANNELS,
        encoder_blocks: tuple[int, ...] = (1, 1, 2, 2, 1),
        head_channels: int = 16,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv3d(1, channels[0], (4, 4, 3), stride=(2, 2, 1), padding=(1, 1, 1))
        self.encoder = nn.ModuleList()
        for level, width in enumerate(channels):
            first = ResidualBlock(channels[max(level - 1, 0)], width, stride=1 if level == 0 else 2)
            more = [ResidualBlock(width, width) for _ in range(encoder_blocks[level] - 1)]
            self.encoder.append(nn.Sequential(first, *more))
        self.up = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, stride=2) for a, b in pairwise(channels))
        self.decoder = nn.ModuleList(ResidualBlock(width, width) for width in channels[:-1])
        self.auxiliary = nn.Conv3d(channels[0], class_count, 1)
        self.up_full = nn.ConvTranspose3d(channels[0], head_channels, (2, 2, 1), stride=(2, 2, 1))
        self.image = nn.Conv3d(1, head_channels // 2, 3, padding=1)
        self.mix = nn.Conv3d(
            head_channels + head_channels // 2, head_channels, (3, 3, 1), padding=(1, 1, 0), bias=False
        )
        self.mix_norm = _norm(head_channels)
        self.logits = nn.Conv3d(head_channels, class_count, 1)
        _initialise(self)

    def forward(self, x: Tensor, coarse_only: bool = False) -> Tensor | tuple[Tensor | None, Tensor]:
        """(B, 1, X, Y, Z) normalised image -> (B, classes, X, Y, Z) logits.

        With ``coarse_only`` (training mode) the full-resolution head is left out and its logits are ``None``.
        """
        y = self.stem(x)
        features: list[Tensor] = []
        for stage in self.encoder:
            y = stage(y)
            features.append(y)
        for level in reversed(range(len(self.up))):
            # Adding the skip instead of appending it halves the cost of the decoder's first convolution.
            y = self.decoder[level](self.up[level](y) + features[level])
        if self.training and coarse_only:
            return None, self.auxiliary(y)
        edges = functional.leaky_relu(self.image(x), _SLOPE)
        full = self.mix(torch.cat((self.up_full(y), edges), dim=1))
        logits = self.logits(functional.leaky_relu(self.mix_norm(full), _SLOPE))
        if self.training:
            return logits, self.auxiliary(y)
        return logits


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, channels // _GROUP_CHANNELS), channels)


def _initialise(network: ResUNet) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, a=_SLOPE, mode="fan_in", nonlinearity="leaky_relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, ResidualBlock):
            # A block starts close to its shortcut, which lets the first steps be large.
            nn.init.constant_(module.second_norm.weight, 0.5)
