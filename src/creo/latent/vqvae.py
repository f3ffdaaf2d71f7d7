r"""VQ-VAE: an autoencoder whose latent is a small grid of symbols.

    z = encoder(x)            a vector z_i in R^D for every place i of a grid
    k_i = quantiser(z_i)      one of K codes (`creo.latent.quantise`), e_ki its vector
    p(x | k) = prod_j head(x_j; decoder(e_k)_j)

Training lowers distortion + beta penalty, in nats per raw sample,

    distortion = -log p(x | k(x))   (gradient straight through)      penalty = sum_i |z_i - sg(e_ki)|^2   (commitment)

and codes follow by moving averages, by gradient, as residual levels, or are fixed (finite scalars). `log_prob` is the
two-part bound of `creo.latent.coded` under the prior of independent places with the codes' shares; the part `rate` is
its length of the code. The loss has no rate, as a second stage will replace that prior.

References:
    van den Oord, Vinyals, Kavukcuoglu (2017), https://arxiv.org/abs/1711.00937;
    Lee et al. (2022), residual quantisation, https://arxiv.org/abs/2203.01941;
    Mentzer et al. (2024), finite scalar quantisation, https://arxiv.org/abs/2309.15505.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from torch import Tensor, nn

from creo.distributions.heads import Head, HeadName, head_for
from creo.errors import OptionError, SpaceError
from creo.latent.coded import ROWS, CodedModel
from creo.latent.fsq import FSQ
from creo.latent.quantise import (
    EMACodebook,
    GradientCodebook,
    Quantised,
    Quantiser,
    Residual,
    number_of,
    perplexity,
)
from creo.model import Report, Terms
from creo.nn import ConditionEmbedding
from creo.nn.feature_maps import map_networks
from creo.nn.shaped import NetworkName
from creo.spaces import Continuous, Ordinal, Space

QuantiserName = Literal["ema", "gradient", "residual", "fsq"]

#: Training examples that are encoded for the codebook's start.
START_EXAMPLES = 2048


class VQVAE(CodedModel):
    """The model of the module docstring.

    Args:
        space: what one sample is.
        encoder: (scaled x (B, *shape), context or None) to a vector for every place, (B, D, *grid).
        quantiser: of those vectors.
        decoder: (vectors (B, D, *grid), context or None) to head parameters (B, *shape, head.size).
        head: the distribution of every variable given its parameters.
        grid: sizes of the grid of places.
        beta: weight of the penalty.
        condition: what it is conditioned on, or None.
        embedding: maps raw conditions to the networks' context vectors; None if unconditional.
    """

    def __init__(
        self,
        space: Space,
        encoder: nn.Module,
        quantiser: Quantiser,
        decoder: nn.Module,
        head: Head,
        *,
        grid: tuple[int, ...],
        beta: float = 0.25,
        condition: Space | None = None,
        embedding: ConditionEmbedding | None = None,
    ) -> None:
        if beta < 0:
            raise OptionError(f"beta must be at least 0; received {beta}")
        shape = grid if quantiser.digits == 1 else (quantiser.digits, *grid)
        super().__init__(
            space,
            Ordinal(shape, quantiser.size),
            head,
            ordered=quantiser.ordered,
            condition=condition,
            embedding=embedding,
        )
        self.encoder, self.quantiser, self.decoder = encoder, quantiser, decoder
        self.grid, self.beta = grid, beta

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        codes: int = 0,
        dim: int = 32,
        quantiser: QuantiserName = "ema",
        levels: tuple[int, ...] = (8, 8, 8),
        depth: int = 2,
        beta: float = 0.25,
        decay: float = 0.95,
        revive: float = 0.3,
        network: NetworkName = "auto",
        downsampling: int = 0,
        channels: int = 0,
        blocks: int = 2,
        places: int = 0,
        hidden: int = 256,
        layers: int = 2,
        head: HeadName = "auto",
        components: int = 3,
        std: float = 0.0,
        width: int = 32,
    ) -> Self:
        """A VQ-VAE with networks that suit the space.

        Args:
            space: Continuous or Ordinal.
            condition: what it is conditioned on, or None.
            codes: K, codes of a codebook; 0: 512 for samples of 256 variables or more, 64 from 32 on, else 16.
            dim: D, numbers of a code.
            quantiser: ema (codes are moving averages), gradient (codes are parameters), residual (`depth` codebooks,
                each of what is left over), fsq (every coordinate rounded to one of its `levels`).
            levels: of the coordinates of fsq, which sets codes and dim.
            depth: codebooks of the residual quantiser.
            beta: weight of the commitment.
            decay: of the moving averages.
            revive: codes chosen less often than revive / codes are moved; 0: never.
            network: conv (pictures), mlp, or auto: conv for pictures.
            downsampling: how often pictures are halved; 0: until their shorter side is at most 8, at least once.
            channels: of the convolutions on the grid; 0: 8 times the shorter side, at most 64.
            blocks: residual blocks on the grid, of encoder and decoder each.
            places: number of codes of a sample that is no picture; 0: 4, or 1 for less than 8 variables.
            hidden: units of each hidden layer of the perceptrons.
            layers: hidden layers of each perceptron.
            head: distribution of a pixel or variable given the codes; as of vae.
            components: logistics in the mixture of the logistic head.
            std: fixed standard deviation of the gaussian head, in raw units; 0 learns it.
            width: size of the condition's embedding.
        """
        if not isinstance(space, Continuous | Ordinal):
            raise SpaceError(f"VQ-VAE models Continuous and Ordinal; received {space}")
        chosen = quantiser_of(
            quantiser,
            codes or codes_for(space),
            dim,
            levels=levels,
            depth=depth,
            beta=beta,
            decay=decay,
            revive=revive,
        )
        of_pixel = head_for(space, head, components=components, std=std or None)
        embedding = None if condition is None else ConditionEmbedding(condition, width)
        encoder, decoder, grid = map_networks(
            space.shape,
            chosen.dim,
            chosen.dim,
            of_pixel.size,
            network=network,
            downsampling=downsampling,
            channels=channels,
            blocks=blocks,
            places=places or (4 if space.dims >= 8 else 1),
            hidden=(hidden,) * layers,
            context=0 if condition is None else width,
        )
        return cls(
            space, encoder, chosen, decoder, of_pixel,
            grid=grid, beta=beta, condition=condition, embedding=embedding,
        )  # fmt: skip

    @torch.no_grad()
    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        """Scale of head and conditions; the codebook starts from k-means of some encoded examples."""
        super().initialise(x, c, report)
        few = torch.randperm(len(x))[:START_EXAMPLES].to(x.device)
        parts = [
            rows_of(self.features(x[i], None if c is None else c[i]))
            for i in few.split(ROWS)
        ]  # fmt: skip
        self.quantiser.initialise(torch.cat(parts))

    def features(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """z, (B, D, *grid)."""
        self.check_batch(x, c)
        return self.encoder(self.head.scaled(x, self.dtype), self.context(c))

    def parameters_of(self, vectors: Tensor, e: Tensor | None) -> Tensor:
        return self.decoder(vectors, e)

    def _code(self, digits: Tensor) -> Tensor:
        """Digits (B * places, digits) as codes (B, *code_space.shape)."""
        code = digits.view(-1, *self.grid, digits.shape[1])
        return code[..., 0] if digits.shape[1] == 1 else code.movedim(-1, 1)

    def _digits(self, codes: Tensor) -> Tensor:
        """Codes (B, *code_space.shape) as digits (B * places, digits)."""
        codes = codes.long()
        if self.quantiser.digits == 1:
            return codes.reshape(-1, 1)
        return codes.movedim(1, -1).reshape(-1, self.quantiser.digits)

    def codes(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self._code(self.quantiser.index(rows_of(self.features(x, c))))

    def vectors(self, codes: Tensor) -> Tensor:
        return self._map(self.quantiser.lookup(self._digits(codes)))

    def _map(self, rows: Tensor) -> Tensor:
        """(B * places, D) as (B, D, *grid)."""
        return rows.view(-1, *self.grid, rows.shape[1]).movedim(-1, 1)

    def log_code_prior(self, codes: Tensor) -> Tensor:
        return self.quantiser.log_prior(self._digits(codes)).view(len(codes), -1).sum(1)

    def draw_codes(self, n: int) -> Tensor:
        places = self.code_space.dims // self.quantiser.digits
        return self._code(self.quantiser.draw(n * places))

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """distortion + beta penalty, in nats per sample, averaged over the batch."""
        found: Quantised = self.quantiser(rows_of(self.features(x, c)))
        params = self.parameters_of(self._map(found.vectors), self.context(c))
        distortion = -self.head.log_prob(params, x).flatten(1).sum(1).mean()
        penalty = found.penalty.sum() / len(x)
        parts = {
            "distortion": distortion.detach(),
            "penalty": penalty.detach(),
            "rate": -self.quantiser.log_prior(found.digits).sum().detach() / len(x),
            "perplexity": perplexity(number_of(found.digits, self.quantiser.size)),
        }
        return Terms(distortion + self.beta * penalty, parts)


def rows_of(features: Tensor) -> Tensor:
    """(B, D, *grid) as (B * places, D)."""
    return features.movedim(1, -1).flatten(0, -2)


def codes_for(space: Space) -> int:
    """How many codes suit a space."""
    return 512 if space.dims >= 256 else 64 if space.dims >= 32 else 16


def quantiser_of(
    name: QuantiserName,
    codes: int,
    dim: int,
    *,
    levels: tuple[int, ...] = (8, 8, 8),
    depth: int = 2,
    beta: float = 0.25,
    decay: float = 0.95,
    revive: float = 0.3,
) -> Quantiser:
    """The quantiser of that name; the options are those of `VQVAE.for_space`.

    Raises:
        OptionError: no such quantiser, or sizes that make none.
    """
    if name == "fsq":
        return FSQ(levels, decay=decay)
    if name == "gradient":
        return GradientCodebook(dim, codes, beta=beta or 0.25, decay=decay, revive=revive)
    if name == "residual" and depth >= 1:
        return Residual([EMACodebook(dim, codes, decay=decay, revive=revive) for _ in range(depth)])
    if name != "ema":
        raise OptionError(
            f"quantiser is ema, gradient, residual (of depth 1 or more) or fsq; received {name!r}, depth={depth}"
        )
    return EMACodebook(dim, codes, decay=decay, revive=revive)
