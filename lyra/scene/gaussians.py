"""A static scene: n anisotropic 3D Gaussians, ready to render."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lyra.scene import rotations, sh
from lyra.scene.errors import require


@dataclass(frozen=True, eq=False)
class Gaussians:
    """n 3D Gaussians in the world frame, with activated values only (no log, no logit; those live in the files).

    means [n, 3] world units; quats [n, 4] unit (w, x, y, z), local to world; scales [n, 3] standard deviations > 0;
    opacities [n] in [0, 1]; sh [n, k, 3], k = (degree + 1)^2, colour = max(0, 0.5 + C0 sh_0 + ...), display-referred
    sRGB. `seen` [n] says where a Gaussian comes from: True = the input showed it, False = imagined by the teacher;
    None = unknown.
    """

    means: Float[Tensor, "n 3"]
    quats: Float[Tensor, "n 4"]
    scales: Float[Tensor, "n 3"]
    opacities: Float[Tensor, " n"]
    sh: Float[Tensor, "n k 3"]
    seen: Bool[Tensor, " n"] | None = None

    def __post_init__(self) -> None:
        n = self.means.shape[0]
        shapes = {
            "means": (n, 3), "quats": (n, 4), "scales": (n, 3), "opacities": (n,), "sh": (n, self.sh.shape[-2], 3),
        }  # fmt: skip
        for name, shape in shapes.items():
            got = tuple(getattr(self, name).shape)
            require(got == shape, f"Gaussians: {name} must be {list(shape)} for {n} means, got {list(got)}")
        sh.degree(self.sh.shape[1])
        if self.seen is not None:
            require(tuple(self.seen.shape) == (n,), f"Gaussians: seen must be [{n}], got {list(self.seen.shape)}")

    @classmethod
    def from_rgb(
        cls, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, rgb: Float[Tensor, "n 3"]
    ) -> "Gaussians":
        """Gaussians of one colour each, rgb in [0, 1] (degree 0)."""
        return cls(means, quats, scales, opacities, sh.rgb_to_sh(rgb)[:, None])

    @classmethod
    def empty(cls, sh_degree: int = 0) -> "Gaussians":
        """No Gaussians."""
        zeros = torch.zeros
        return cls(zeros(0, 3), zeros(0, 4), zeros(0, 3), zeros(0), zeros(0, (sh_degree + 1) ** 2, 3))

    @classmethod
    def concat(cls, parts: Sequence["Gaussians"]) -> "Gaussians":
        """All Gaussians of `parts` in order; lower SH degrees are padded, provenance survives if all parts have it."""
        require(len(parts) > 0, "Gaussians.concat needs at least one part, got none")
        k = max(part.sh.shape[1] for part in parts)
        padded = [torch.nn.functional.pad(part.sh, (0, 0, 0, k - part.sh.shape[1])) for part in parts]
        seen = None if any(part.seen is None for part in parts) else torch.cat([part.seen for part in parts])
        stacked = [torch.cat([getattr(p, name) for p in parts]) for name in ("means", "quats", "scales", "opacities")]
        return cls(*stacked, torch.cat(padded), seen)

    def __len__(self) -> int:
        return self.means.shape[0]

    @property
    def sh_degree(self) -> int:
        """Degree of the view-dependent colour, 0 to 3."""
        return sh.degree(self.sh.shape[1])

    @property
    def rgb(self) -> Float[Tensor, "n 3"]:
        """The view-independent colour (degree 0), not clamped."""
        return sh.sh_to_rgb(self.sh[:, 0])

    def covariances(self) -> Float[Tensor, "n 3 3"]:
        """R S S^T R^T in world units squared (Kerbl et al. 2023, Eq. 6)."""
        rs = rotations.quat_to_matrix(self.quats) * self.scales[:, None, :]
        return rs @ rs.transpose(-1, -2)

    def __getitem__(self, index) -> "Gaussians":
        """A subset or a reordering, by mask, indices or slice."""
        seen = None if self.seen is None else self.seen[index]
        return Gaussians(
            self.means[index], self.quats[index], self.scales[index], self.opacities[index], self.sh[index], seen
        )

    def to(self, *args, **kwargs) -> "Gaussians":
        """As `Tensor.to`, for device and floating dtype (the provenance mask keeps its dtype)."""
        names = ("means", "quats", "scales", "opacities", "sh")
        moved = {name: getattr(self, name).to(*args, **kwargs) for name in names}
        seen = None if self.seen is None else self.seen.to(moved["means"].device)
        return replace(self, **moved, seen=seen)

    def detach(self) -> "Gaussians":
        """The same values without gradient history."""
        names = ("means", "quats", "scales", "opacities", "sh")
        return replace(self, **{name: getattr(self, name).detach() for name in names})

    def transform(self, matrix: Float[Tensor, "4 4"]) -> "Gaussians":
        """The scene moved by a rotation, a uniform scale and a translation; view-dependent colour turns with it."""
        scale, rotation = rotations.split_similarity(matrix)
        turn = rotations.matrix_to_quat(rotation).expand_as(self.quats)
        colour = self.sh if self.sh.shape[1] == 1 else sh.rotate(self.sh, rotation)
        return replace(
            self,
            means=rotations.transform_points(matrix, self.means),
            quats=rotations.quat_multiply(turn, self.quats),
            scales=self.scales * scale,
            sh=colour,
        )

    def survivors(self, min_opacity: float = 0.0, max_count: int | None = None) -> Bool[Tensor, " n"]:
        """Which Gaussians are finite, at least as opaque as `min_opacity`, and among the `max_count` most opaque."""
        keep = self.finite() & (self.opacities >= min_opacity)
        if max_count is None or int(keep.sum()) <= max_count:
            return keep
        ranked = torch.where(keep, self.opacities, torch.full_like(self.opacities, -1))
        chosen = torch.zeros_like(keep)
        chosen[ranked.topk(max_count).indices] = True
        return chosen

    def prune(self, *, min_opacity: float = 0.0, max_count: int | None = None) -> "Gaussians":
        """Only the `survivors`, in the same order."""
        return self[self.survivors(min_opacity, max_count)]

    def finite(self) -> Bool[Tensor, " n"]:
        """Which Gaussians hold finite numbers only."""
        good = self.means.isfinite().all(-1) & self.quats.isfinite().all(-1) & self.scales.isfinite().all(-1)
        return good & self.opacities.isfinite() & self.sh.isfinite().flatten(1).all(-1)
