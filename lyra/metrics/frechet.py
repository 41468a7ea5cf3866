"""Frechet distance between two sets of features: FID with image features, FVD with those of videos."""

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.scene import require


def frechet_distance(features: Float[Tensor, "n d"], reference: Float[Tensor, "m d"]) -> float:
    """|mean difference|^2 + tr(A + B - 2 (A B)^(1/2)) of Gaussians fitted to both sets (Heusel et al. 2017, Eq. 6).

    Covariances are unbiased. Each set needs at least two members. The estimate is biased upwards where a set is not
    much larger than d, so compare only results from equally many members. float64 on the CPU.
    """
    require(
        len(features) > 1 and len(reference) > 1,
        f"a Frechet distance needs at least 2 feature vectors on each side, got {len(features)} and {len(reference)}",
    )
    a, b = (x.detach().double().cpu() for x in (features, reference))
    cov_a, cov_b = torch.atleast_2d(a.T.cov()), torch.atleast_2d(b.T.cov())
    # tr (A B)^(1/2) by the eigenvalues of the symmetric A^(1/2) B A^(1/2), which are those of A B.
    values, vectors = torch.linalg.eigh(cov_a)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    distance = (a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return max(float(distance), 0.0)
