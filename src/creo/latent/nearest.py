r"""The nearest of many codes, and k-means by it.

    k(z) = argmin_k |z - e_k|^2 = argmin_k ( |e_k|^2 / 2 - z . e_k )

is one matrix product and a minimum, in chunks: memory O(chunk x K). Lloyd's iterations move every code to the mean of
the vectors it is nearest to.

Reference: Lloyd (1982), Least squares quantization in PCM, https://doi.org/10.1109/TIT.1982.1056489.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Scores held in memory at a time by `nearest` (a million float32 are 4 MiB, which caches hold).
CHUNK_SCORES = 2**20
#: Vectors that k-means looks at, at most.
START_VECTORS = 2**14


def nearest(z: Tensor, codes: Tensor) -> Tensor:
    """Index of the code nearest to each vector, the first of equals: z (N, D), codes (K, D) to (N,) int64."""
    half, transposed = codes.square().sum(1) / 2, codes.T
    index = torch.empty(len(z), dtype=torch.long, device=z.device)
    rows = max(1, CHUNK_SCORES // len(codes))
    for i in range(0, len(z), rows):
        scores = torch.addmm(half, z[i : i + rows], transposed, alpha=-1)
        torch.argmin(scores, 1, out=index[i : i + rows])
    return index


def kmeans(z: Tensor, k: int, *, steps: int) -> tuple[Tensor, Tensor]:
    """k-means from k of the vectors, by `steps` of Lloyd's iterations; a code that loses all its vectors takes one
    at random.

    Args:
        z: (N, D); at most `START_VECTORS` of them are used. If N < k, some codes start near the same vector.
        k: number of codes.
        steps: iterations.

    Returns:
        Codes (k, D) and how many vectors chose each, scaled to N in all, (k,).
    """
    n = len(z)
    z = z[torch.randperm(n, device=z.device)[:START_VECTORS]]
    picked = torch.arange(k, device=z.device) % len(z)
    codes = z[picked]
    if k > len(z):
        codes = codes + 1e-2 * z.std() * torch.randn_like(codes)
    for _ in range(steps):
        index = nearest(z, codes)
        counts = torch.bincount(index, minlength=k)
        means = torch.zeros_like(codes).index_add_(0, index, z) / counts.clamp_min(1)[:, None].to(z.dtype)
        spare = z[torch.randint(len(z), (k,), device=z.device)]
        codes = torch.where(counts[:, None] > 0, means, spare)
    counts = torch.bincount(nearest(z, codes), minlength=k)
    return codes, counts.to(z.dtype) * (n / len(z))
