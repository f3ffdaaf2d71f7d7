r"""VQ-VAE-2: two grids of codes, a coarse one for what a picture shows and a fine one for its details.

    h = encoder(x)                      maps on the fine grid
    k_top = quantise(encoder_top(h))    on the coarse grid, half as large
    k = quantise(W [h, up(e_top)])      on the fine grid, given the coarse codes
    p(x | k, k_top) = prod_j head(x_j; decoder([e_k, up(e_top)])_j)

with moving-average codebooks (`creo.latent.quantise`) and the loss of `creo.latent.vqvae`, the penalties of both grids
added. A code is one picture of symbols for any pixel model, the coarse codes in the rows above the fine ones,

    rows 0 .. ceil(n / w) - 1    the n coarse codes in raster order, the last row filled up with 0
    the h rows below             the fine codes

so that in raster order the coarse codes come first, and the fine ones are generated given all of them.

Reference: Razavi, van den Oord, Vinyals (2019), https://arxiv.org/abs/1906.00446.
"""

from __future__ import annotations

import math
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.distributions.heads import Head, HeadName, head_for
from creo.errors import SpaceError
from creo.latent.coded import ROWS, CodedModel
from creo.latent.quantise import EMACodebook, perplexity
from creo.latent.vqvae import START_EXAMPLES, codes_for, rows_of
from creo.model import Report, Terms
from creo.nn import ConditionEmbedding
from creo.nn.feature_maps import MapDecoder, MapEncoder, halvings, sizes, wide
from creo.spaces import Continuous, Ordinal, Space


class VQVAE2(CodedModel):
    """The model of the module docstring.

    Args:
        space: pictures.
        head: the distribution of every variable given its parameters.
        codes: K of both codebooks.
        dim: numbers of a code.
        times: how often pictures are halved to the fine grid.
        channels, blocks: of the convolutions.
        beta: weight of the penalties.
        decay, revive: of the codebooks.
        context: size of the condition's embedding; 0 for none.
        condition: what it is conditioned on, or None.
        embedding: maps raw conditions to the networks' context vectors; None if unconditional.
    """

    def __init__(
        self,
        space: Space,
        head: Head,
        *,
        codes: int,
        dim: int,
        times: int,
        channels: int = 64,
        blocks: int = 2,
        beta: float = 0.25,
        decay: float = 0.95,
        revive: float = 0.3,
        context: int = 0,
        condition: Space | None = None,
        embedding: ConditionEmbedding | None = None,
    ) -> None:
        _, height, width = space.shape
        fine = sizes(height, width, times)[-1]
        top = sizes(*fine, 1)[-1]
        above = math.ceil(math.prod(top) / fine[1])
        code_space = Ordinal((above + fine[0], fine[1]), codes)
        super().__init__(space, code_space, head, condition=condition, embedding=embedding)
        self.grid, self.top_grid, self.above, self.beta = fine, top, above, beta
        shared: dict[str, Any] = {"channels": channels, "blocks": blocks, "context": context}
        self.encoder = MapEncoder(space.shape, channels, times=times, **shared)
        self.encoder_top = MapEncoder((channels, *fine), dim, times=1, **shared)
        self.combine = nn.Conv2d(channels + dim, dim, 1)
        self.book = EMACodebook(dim, codes, decay=decay, revive=revive)
        self.book_top = EMACodebook(dim, codes, decay=decay, revive=revive)
        self.decoder = MapDecoder(2 * dim, space.shape, head.size, times=times, **shared)

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        codes: int = 0,
        dim: int = 32,
        beta: float = 0.25,
        decay: float = 0.95,
        revive: float = 0.3,
        downsampling: int = 0,
        channels: int = 0,
        blocks: int = 2,
        head: HeadName = "auto",
        components: int = 3,
        std: float = 0.0,
        width: int = 32,
    ) -> Self:
        """A VQ-VAE-2 that suits the space.

        Args:
            space: pictures, Continuous or Ordinal.
            condition: what it is conditioned on, or None.
            codes: K, codes of each codebook; 0: 512 for samples of 256 variables or more, 64 from 32 on, else 16.
            dim: numbers of a code.
            beta: weight of the commitment.
            decay: of the moving averages.
            revive: codes chosen less often than revive / codes are moved; 0: never.
            downsampling: how often pictures are halved to the fine grid; 0: until their shorter side is at most 8.
            channels: of the convolutions on the grids; 0: 8 times the shorter side, at most 64.
            blocks: residual blocks on each grid, of encoder and decoder each.
            head: distribution of a pixel given the codes; as of vae.
            components: logistics in the mixture of the logistic head.
            std: fixed standard deviation of the gaussian head, in raw units; 0 learns it.
            width: size of the condition's embedding.
        """
        if not isinstance(space, Continuous | Ordinal) or not space.is_image:
            raise SpaceError(f"vqvae2 models pictures, Continuous or Ordinal (C, H, W); received {space}")
        return cls(
            space,
            head_for(space, head, components=components, std=std or None),
            codes=codes or codes_for(space),
            dim=dim,
            times=downsampling or halvings(space.shape),
            channels=channels or wide(space.shape),
            blocks=blocks,
            beta=beta,
            decay=decay,
            revive=revive,
            context=0 if condition is None else width,
            condition=condition,
            embedding=None if condition is None else ConditionEmbedding(condition, width),
        )

    @torch.no_grad()
    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        """Scale of head and conditions; both codebooks start from k-means of some encoded examples."""
        super().initialise(x, c, report)
        few = torch.randperm(len(x))[:START_EXAMPLES].to(x.device).split(ROWS)
        maps = [self._evidence(x[i], None if c is None else c[i]) for i in few]
        self.book_top.initialise(torch.cat([rows_of(z) for _, z in maps]))
        fine = [self._fine(h, self._nearest(self.book_top, z)) for h, z in maps]
        self.book.initialise(torch.cat([rows_of(z) for z in fine]))

    def _evidence(self, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Maps on the fine grid, and the coarse vectors to be quantised."""
        self.check_batch(x, c)
        e = self.context(c)
        h = self.encoder(self.head.scaled(x, self.dtype), e)
        return h, self.encoder_top(h, e)

    def _fine(self, h: Tensor, top: Tensor) -> Tensor:
        """The fine vectors to be quantised, given the coarse ones that were."""
        return self.combine(torch.cat([F.leaky_relu(h, 0.1), self._up(top)], 1))

    def _up(self, top: Tensor) -> Tensor:
        return F.interpolate(top, size=self.grid, mode="nearest")

    def _nearest(self, book: EMACodebook, z: Tensor) -> Tensor:
        """The codes' vectors in place of those of a map."""
        return _as_map(book.lookup(book.index(rows_of(z))), z)

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """distortion + beta penalties, in nats per sample, averaged over the batch."""
        h, z_top = self._evidence(x, c)
        top = self.book_top(rows_of(z_top))
        e_top = _as_map(top.vectors, z_top)
        z = self._fine(h, e_top)
        fine = self.book(rows_of(z))
        params = self.parameters_of(
            torch.cat([_as_map(fine.vectors, z), self._up(e_top)], 1), self.context(c)
        )
        distortion = -self.head.log_prob(params, x).flatten(1).sum(1).mean()
        penalty = (top.penalty.sum() + fine.penalty.sum()) / len(x)
        rate = self.book.log_prior(fine.digits).sum() + self.book_top.log_prior(top.digits).sum()
        parts = {
            "distortion": distortion.detach(),
            "penalty": penalty.detach(),
            "rate": -rate.detach() / len(x),
            "perplexity": perplexity(fine.digits[:, 0]),
            "perplexity_top": perplexity(top.digits[:, 0]),
        }
        return Terms(distortion + self.beta * penalty, parts)

    def codes(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        h, z_top = self._evidence(x, c)
        top = self.book_top.index(rows_of(z_top))
        fine = self.book.index(rows_of(self._fine(h, _as_map(self.book_top.lookup(top), z_top))))
        return self._join(fine.view(len(x), *self.grid), top.view(len(x), -1))

    def _join(self, fine: Tensor, top: Tensor) -> Tensor:
        """Fine codes (B, h, w) and coarse ones (B, n) as one picture."""
        rows = F.pad(top, (0, self.above * self.grid[1] - top.shape[1])).view(len(top), self.above, -1)
        return torch.cat([rows, fine], 1)

    def _part(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Fine codes (B, h, w) and coarse ones (B, n) of one picture."""
        codes = codes.long()
        return codes[:, self.above :], codes[:, : self.above].flatten(1)[:, : math.prod(self.top_grid)]

    def vectors(self, codes: Tensor) -> Tensor:
        fine, top = self._part(codes)
        e_top = self.book_top.codes[top].view(len(codes), *self.top_grid, -1).movedim(-1, 1)
        return torch.cat([self.book.codes[fine].movedim(-1, 1), self._up(e_top)], 1)

    def parameters_of(self, vectors: Tensor, e: Tensor | None) -> Tensor:
        return self.decoder(vectors, e)

    def log_code_prior(self, codes: Tensor) -> Tensor:
        parts = zip((self.book, self.book_top), self._part(codes), strict=True)
        return torch.stack(
            [book.log_prior(part.reshape(-1, 1)).view(len(codes), -1).sum(1) for book, part in parts]
        ).sum(0)

    def draw_codes(self, n: int) -> Tensor:
        fine, top = (math.prod(grid) for grid in (self.grid, self.top_grid))
        return self._join(
            self.book.draw(n * fine).view(n, *self.grid), self.book_top.draw(n * top).view(n, top)
        )


def _as_map(rows: Tensor, like: Tensor) -> Tensor:
    """Rows (B * places, D) as a map of the size of `like` (B, D', *grid)."""
    return rows.view(len(like), *like.shape[2:], rows.shape[1]).movedim(-1, 1)
