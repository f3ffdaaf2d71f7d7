r"""`moving-digits` and `moving-mnist`: videos of a digit that moves at constant speed and bounces off the walls.

    corner(t) = fold(start + t velocity),    fold(s) = room - |s mod 2 room - room|     (each axis by itself)

where room is how far the digit can move. A video is `Ordinal((T, H, W))`: frames are channels, in the order of time,
so that a network of pictures models all frames jointly. Everything a frame does is known: its centre of mass moves by
the same distance at every step that meets no wall, its ink stays the same up to the rounding to levels, and the future
follows from two frames (if no wall is met between them).

With `given` = k > 0 the condition is the first k frames, `Ordinal((k, H, W))`, and a sample is the frames after them;
with `given` = 0 a sample is the whole video and the condition its label. A longer video with the same options begins
with the shorter one's frames. Digits are of the split of the same name; motions are drawn once, with a fixed seed.

Source: after Srivastava, Mansimov, Salakhutdinov 2015, https://arxiv.org/abs/1502.04681, whose videos have two digits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from creo.data.canvas import lay
from creo.data.dataset import Data, Split
from creo.data.digits import load as load_digits
from creo.data.idx import grey
from creo.data.listing import find_data
from creo.data.load import Request
from creo.errors import OptionError
from creo.model import seeded
from creo.spaces import Ordinal

SIZES, SEEDS = {"train": 10_000, "valid": 1000, "test": 1000}, {"train": 1, "valid": 2, "test": 3}


@dataclass(frozen=True)
class Stage:
    """Where a set of digits moves.

    Args:
        side: of the frame in pixels.
        scale: enlargement of the digits.
        speeds: slowest and fastest, in pixels a frame.
    """

    side: int
    scale: float
    speeds: tuple[float, float]


STAGES = {"moving-digits": Stage(16, 1.0, (0.8, 2.0)), "moving-mnist": Stage(32, 0.75, (1.5, 4.0))}


def load(request: Request, *, frames: int = 8, given: int = 0) -> Data:
    """Videos of one moving digit.

    Args:
        request: which digits.
        frames: of a video, given ones included.
        given: how many of its first frames are the condition; with 0 the condition is the label.
    """
    if not 0 <= given < frames or frames - given == 3:
        raise OptionError(
            f"{request.spec}: given is at least 0 and less than frames, and their difference is not 3, which would be "
            f"the colours of a picture; received frames={frames}, given={given}"
        )
    source, stage = request.name.removeprefix("moving-"), STAGES[request.name]
    labelled = load_digits(Request(source, source)) if source == "digits" else grey(request, source)
    levels, entry = labelled.space.levels, find_data(request.name)  # type: ignore[attr-defined]
    train, valid, test = (_moved(labelled.split(name), stage, frames, given) for name in SEEDS)
    first = Ordinal((given, stage.side, stage.side), levels) if given else labelled.condition
    return replace(
        labelled, name=request.spec, space=Ordinal((frames - given, stage.side, stage.side), levels), condition=first,
        train=train, valid=valid, test=test, source=entry.source, licence=entry.licence,
        notes=(*labelled.notes, "motions drawn once, seeds 1, 2 and 3"),
    )  # fmt: skip


def _moved(split: Split, stage: Stage, frames: int, given: int) -> Split:
    """The videos of one split, given frames or labels as conditions."""
    n = SIZES[split.name]
    with seeded(SEEDS[split.name]):
        x, labels = split.take(torch.randint(len(split), (n,)))
        angle, share, fast = 2 * torch.pi * torch.rand(n), torch.rand(n, 2), torch.rand(n)
    slow, quick = stage.speeds
    velocity = (slow + (quick - slow) * fast)[:, None] * torch.stack([angle.sin(), angle.cos()], 1)
    digits = x[:, 0] if x.shape[-1] < 28 else x[:, 0, 4:24, 4:24]
    room = stage.side - stage.scale * digits.shape[-1]
    video = render(digits, stage, share * room, velocity, frames)
    if not given:
        return Split(video, labels)
    return Split(video[:, given:].contiguous(), video[:, :given].contiguous())


def render(digits: Tensor, stage: Stage, start: Tensor, velocity: Tensor, frames: int) -> Tensor:
    """Videos (N, frames, side, side) of digits (N, h, w) whose corners start at (N, 2) and move by (N, 2) a frame."""
    room = stage.side - stage.scale * digits.shape[-1]
    scale = torch.full((len(digits),), stage.scale)
    made = [
        lay(digits, (stage.side, stage.side), fold(start + t * velocity, room), scale) for t in range(frames)
    ]
    return torch.stack(made, 1)


def fold(position: Tensor, room: float) -> Tensor:
    """Positions on the line as positions in [0, room] that bounce off its ends."""
    return room - (position % (2 * room) - room).abs()


def centres(video: Tensor) -> Tensor:
    """Centres of mass in pixels, (N, T, 2) as (down, right), of videos (N, T, H, W); NaN of frames without ink."""
    mass = video.double()
    down, right = (torch.arange(size, dtype=torch.float64, device=mass.device) for size in mass.shape[2:])
    total = mass.sum((2, 3))
    return torch.stack([(mass.sum(3) * down).sum(2) / total, (mass.sum(2) * right).sum(2) / total], 2)


def jerkiness(video: Tensor) -> Tensor:
    """How far motion is from constant, (N,) in pixels: median over time of the change of velocity of the centre."""
    return centres(video).diff(n=2, dim=1).norm(dim=2).median(1).values


def ink_change(video: Tensor) -> Tensor:
    """How far ink is from conserved, (N,): standard deviation over time as a share of its mean."""
    ink = video.double().sum((2, 3))
    return ink.std(1) / ink.mean(1).clamp_min(1e-12)
