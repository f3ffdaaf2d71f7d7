"""Rolling out and judging continuations, with a model whose continuations are known."""

import pytest
import torch

from creo.errors import OptionError, SpaceError
from creo.evaluation.video import forecast_error, roll_out
from creo.model import GenerativeModel
from creo.spaces import Categories, Ordinal


class Shift(GenerativeModel):
    """Continues a video by moving its last frame one pixel to the right each time."""

    def __init__(self, frames: int = 3, given: int = 2) -> None:
        super().__init__(Ordinal((frames, 4, 9), 17), Ordinal((given, 4, 9), 17))

    def sample(self, n, c=None):
        c = self.expand_condition(n, c)
        return torch.stack([c[:, -1].roll(i + 1, 2) for i in range(self.space.shape[0])], 1)


def video(frames: int) -> torch.Tensor:
    first = torch.randint(0, 17, (5, 4, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return torch.stack([first.roll(t, 2) for t in range(frames)], 1)


@pytest.mark.parametrize("frames", [1, 3, 4, 11])
def test_a_video_goes_on_for_as_long_as_wanted(frames):
    truth = video(2 + frames)
    drawn = roll_out(Shift(), truth[:, :2].contiguous(), frames)
    assert torch.equal(drawn, truth[:, 2:])
    error, still = forecast_error(drawn, truth[:, 2:], truth[:, :2])
    assert error.shape == still.shape == (frames,)
    assert error.max() == 0
    expected = (truth[:, 1].double() - truth[:, 2].double()).square().mean()
    assert float(still[0]) == pytest.approx(float(expected))


def test_options_of_drawing_are_the_callers():
    model, calls = Shift(), []

    def draw(n, c):
        calls.append(n)
        return model.sample(n, c)

    roll_out(model, video(2), 7, draw=draw)
    assert calls == [5, 5, 5]


def test_models_that_continue_nothing_are_refused():
    class Labelled(Shift):
        def __init__(self):
            super().__init__()
            self.condition = Categories(3)

    with pytest.raises(SpaceError, match="frames given frames"):
        roll_out(Labelled(), video(2), 4)
    with pytest.raises(OptionError, match="at least 1"):
        roll_out(Shift(), video(2), 0)
    with pytest.raises(SpaceError, match="given"):
        roll_out(Shift(), video(3), 4)
