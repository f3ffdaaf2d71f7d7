"""Does training reach everything, in every mode and precision, and is evaluation a function of the example alone?"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from creo.model import GenerativeModel, Likelihood, Terms, seeded
from creo.testing.density import SIGMAS
from creo.testing.failure import require, require_close, require_finite
from creo.testing.measure import double

Loss = Callable[[Tensor, Tensor | None], Terms]


def losses(model: GenerativeModel) -> dict[str, Loss]:
    """The losses of a model's players by name; its own `loss` if nothing is trained by gradient."""
    return {p.name: p.loss for p in model.players()} or {"model": model.loss}


def _scalar(terms: Terms, who: str) -> Tensor:
    require(terms.loss.ndim == 0, f"loss of {who!r} must be a scalar; it has shape {tuple(terms.loss.shape)}")
    require_finite(terms.loss.view(1), f"loss of {who!r}")
    for name, part in terms.parts.items():
        part = torch.as_tensor(part)
        require(
            part.numel() == 1, f"part {name!r} of {who!r} must be a scalar; it has shape {tuple(part.shape)}"
        )
        require_finite(part.view(1), f"part {name!r} of {who!r}")
    return terms.loss


def check_gradients_reach_parameters(
    model: GenerativeModel, x: Tensor, c: Tensor | None = None, *, batches: int = 4, seed: int = 0
) -> None:
    """Every trainable parameter belongs to a player, whose loss has a non-zero gradient with respect to it.

    Args:
        model: away from its starting point (see `settle`): a layer before a zero weight gets no gradient.
        x: raw data, (N, *space.shape).
        c: conditions, (N, *condition.shape), or None.
        batches: random batches of which one at least must reach each parameter.
        seed: of the batches and of the losses' own noise.
    """
    model = copy.deepcopy(model).train()
    names = {id(p): name for name, p in model.named_parameters()}
    players = model.players()
    owned = {id(p) for player in players for p in player.parameters}
    free = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in owned]
    require(not free, f"no player owns the parameters {', '.join(free)}: they would never be trained")
    alien = sum(id(p) not in names for player in players for p in player.parameters)
    require(not alien, f"players own {alien} parameters that are not the model's: they would not be saved")
    called = [player.name for player in players]
    require(len(set(called)) == len(called), f"players of one game need different names; they are {called}")
    for player in players:
        reached = torch.zeros(len(player.parameters), dtype=torch.bool)
        with seeded(seed):
            for _ in range(batches):
                pick = torch.randint(len(x), (min(64, len(x)),))
                loss = _scalar(player.loss(x[pick], None if c is None else c[pick]), player.name)
                slopes = torch.autograd.grad(loss, list(player.parameters), allow_unused=True)
                reached |= torch.tensor([g is not None and bool(g.abs().max() > 0) for g in slopes])
        missed = [names[id(p)] for p, hit in zip(player.parameters, reached.tolist(), strict=True) if not hit]
        require(
            not missed,
            f"the loss of player {player.name!r} has no gradient with respect to its own {', '.join(missed)}",
        )


def check_dtypes(
    model: GenerativeModel, x: Tensor, c: Tensor | None = None, *, repeats: int = 8, seed: int = 0
) -> None:
    """Losses in float64 and under bfloat16 autocast are finite and agree with float32; so does float64 log_prob.

    Means over `repeats` calls are compared, allowing 4.5 standard errors of random losses plus 0.1 % (float64) or
    5 % (bfloat16) of 1 + |loss|.

    Args:
        model: any model.
        x: raw data, (B, *space.shape).
        c: conditions, (B, *condition.shape), or None.
        repeats: calls of each loss.
        seed: of the losses' own noise.
    """
    plain, wide, cw = copy.deepcopy(model).eval(), double(model), None if c is None else _wide(c)
    with seeded(seed):
        for who in losses(plain):
            single = _mean_loss(plain, who, x, c, repeats)
            _agree(single, _mean_loss(wide, who, _wide(x), cw, repeats), 1e-3, f"float64 loss of {who!r}")
            with torch.autocast("cpu", torch.bfloat16):
                half = _mean_loss(plain, who, x, c, repeats)
            _agree(single, half, 0.05, f"loss of {who!r} under bfloat16 autocast")
        if model.likelihood is Likelihood.EXACT:
            with torch.no_grad():
                precise, rough = wide.log_prob(_wide(x), cw), plain.log_prob(x, c)
            require(precise.dtype == torch.float64, f"log_prob of a float64 model is {precise.dtype}")
            require_close(rough, precise, "log_prob in float32 against float64", atol=1e-3, rtol=1e-3)


def _wide(t: Tensor) -> Tensor:
    return t.double() if t.is_floating_point() else t


def _mean_loss(
    model: GenerativeModel, who: str, x: Tensor, c: Tensor | None, repeats: int
) -> tuple[float, float]:
    loss = losses(model)[who]
    values = torch.stack([_scalar(loss(x, c), who).detach().double() for _ in range(repeats)])
    return float(values.mean()), float(values.std()) / repeats**0.5


def _agree(want: tuple[float, float], got: tuple[float, float], share: float, what: str) -> None:
    slack = share * (1 + abs(want[0])) + SIGMAS * (want[1] ** 2 + got[1] ** 2) ** 0.5
    require(
        abs(got[0] - want[0]) <= slack,
        f"{what} is {got[0]:.6g} +- {got[1]:.1g}, in float32 it is {want[0]:.6g} +- {want[1]:.1g}",
    )


def check_train_and_eval(
    model: GenerativeModel, x: Tensor, c: Tensor | None = None, *, tolerance: float = 1e-9, seed: int = 0
) -> None:
    """Losses and samples are finite in both modes, also for one example; evaluating changes nothing.

    In eval mode an EXACT log_prob is the same at every call, and that of an example does not depend on the others in
    its batch; asking for log_prob and samples leaves parameters, buffers and the mode as they were.

    Args:
        model: any model.
        x: raw data, (B, *space.shape) with B at least 2.
        c: conditions, (B, *condition.shape), or None.
        tolerance: of the log_prob of one example alone against the same one in a batch; float64, relative.
        seed: of the model's own noise.
    """
    for training in (True, False):
        with seeded(seed):
            _check_mode(copy.deepcopy(model).train(training), x, c)
    if model.likelihood is Likelihood.EXACT:
        _check_function_of_the_example(double(model), _wide(x), c, tolerance)


def _check_mode(model: GenerativeModel, x: Tensor, c: Tensor | None) -> None:
    mode = "training" if model.training else "eval"
    one = None if c is None else c[:1]
    for who, loss in losses(model).items():
        _scalar(loss(x, c), f"{who} in {mode} mode")
        _scalar(loss(x[:1], one), f"{who} in {mode} mode on a batch of 1")
    before = {name: t.clone() for name, t in model.state_dict().items()}
    flag = model.training
    with torch.no_grad():
        require_finite(model.sample(3, None if c is None else c[:3]), f"samples in {mode} mode")
        if model.likelihood is not Likelihood.NONE:
            require_finite(model.log_prob(x, c), f"log_prob in {mode} mode")
            require_finite(model.log_prob(x[:1], one), f"log_prob in {mode} mode of a batch of 1")
    require(model.training is flag, f"sample or log_prob leaves the model in another mode than {mode}")
    if not flag:
        changed = [name for name, t in model.state_dict().items() if not torch.equal(t, before[name])]
        require(not changed, f"sample or log_prob in eval mode changes {', '.join(changed)}")


@torch.no_grad()
def _check_function_of_the_example(
    model: GenerativeModel, x: Tensor, c: Tensor | None, tolerance: float
) -> None:
    whole = model.log_prob(x, c)
    require_close(model.log_prob(x, c), whole, "a second log_prob of the same batch in eval mode")
    n = min(len(x), 8)
    alone = torch.cat([model.log_prob(x[i : i + 1], None if c is None else c[i : i + 1]) for i in range(n)])
    what = "log_prob of an example alone against the same in a batch (eval mode)"
    require_close(alone, whole[:n], what, atol=tolerance, rtol=tolerance)
