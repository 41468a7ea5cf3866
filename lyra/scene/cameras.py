"""Pinhole cameras: poses, intrinsics and the maps between pixels and the world.

Conventions (docs/conventions.md): camera-to-world poses with OpenCV axes (+x right, +y down, +z forward); K in pixels;
the centre of pixel (row i, column j) is at (j + 0.5, i + 0.5), so a centred lens has cx = width / 2.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.scene import rotations
from lyra.scene.errors import require


@dataclass(frozen=True, eq=False)
class Cameras:
    """Any number of pinhole cameras of one image size.

    c2w is rigid, [*b, 4, 4], in world units; K is [*b, 3, 3] in pixels of this width and height; `times` are seconds
    [*b], for paths through scenes that move. Raises InputError on wrong shapes, non-finite values, non-rigid poses or
    a focal length <= 0.
    """

    c2w: Float[Tensor, "*b 4 4"]
    K: Float[Tensor, "*b 3 3"]
    width: int
    height: int
    times: Float[Tensor, "*b"] | None = None

    def __post_init__(self) -> None:
        self._check_shapes()
        if not self.c2w.is_meta:
            self._check_values()

    def _check_shapes(self) -> None:
        shape = tuple(self.c2w.shape)
        require(shape[-2:] == (4, 4), f"Cameras: c2w must be [..., 4, 4], got {list(shape)}")
        require(
            tuple(self.K.shape) == (*shape[:-2], 3, 3),
            f"Cameras: K must be {[*shape[:-2], 3, 3]} in pixels for c2w {list(shape)}, got {list(self.K.shape)}",
        )
        require(
            self.width >= 1 and self.height >= 1,
            f"Cameras: width and height must be at least 1 pixel, got {self.width}x{self.height}",
        )
        if self.times is not None:
            require(
                tuple(self.times.shape) == shape[:-2],
                f"Cameras: times must be {list(shape[:-2])} to go with c2w {list(shape)}, got {list(self.times.shape)}",
            )

    def _check_values(self) -> None:
        c2w, K = self.c2w.detach(), self.K.detach()
        require(bool(c2w.isfinite().all()), "Cameras: c2w holds NaN or infinity; every pose must be finite")
        require(bool(K.isfinite().all()), "Cameras: K holds NaN or infinity; every intrinsic must be finite")
        focal = torch.stack([K[..., 0, 0], K[..., 1, 1]])
        require(bool((focal > 0).all()), "Cameras: focal lengths K[0, 0] and K[1, 1] must be positive pixels")
        R = c2w[..., :3, :3].double()
        error = (R @ R.transpose(-1, -2) - torch.eye(3, dtype=R.dtype, device=R.device)).abs()
        handed = (torch.linalg.cross(R[..., 0, :], R[..., 1, :]) * R[..., 2, :]).sum(-1)  # far cheaper than det
        rigid = error.numel() == 0 or (float(error.max()) < 1e-3 and bool((handed > 0).all()))
        require(rigid, "Cameras: c2w must be rigid (a rotation with determinant +1 and a translation)")
        if self.times is not None:
            require(bool(self.times.isfinite().all()), "Cameras: times hold NaN or infinity")

    @classmethod
    def from_fov(
        cls, c2w: Float[Tensor, "*b 4 4"], fov_x_deg: float, width: int, height: int, times: Tensor | None = None
    ) -> "Cameras":
        """Centred square-pixel lenses with a horizontal field of view in degrees, 0 < fov_x_deg < 180."""
        require(
            0 < fov_x_deg < 180, f"the horizontal field of view must lie between 0 and 180 degrees, got {fov_x_deg}"
        )
        focal = 0.5 * width / math.tan(math.radians(fov_x_deg) / 2)
        K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=c2w.dtype, device=c2w.device)
        return cls(c2w, K.expand(*c2w.shape[:-2], 3, 3), width, height, times)

    @property
    def shape(self) -> tuple[int, ...]:
        """The batch shape *b."""
        return tuple(self.c2w.shape[:-2])

    @property
    def w2c(self) -> Float[Tensor, "*b 4 4"]:
        """World-to-camera transforms."""
        return rotations.invert_rigid(self.c2w)

    @property
    def centers(self) -> Float[Tensor, "*b 3"]:
        """Camera centres in the world."""
        return self.c2w[..., :3, 3]

    @property
    def fov_x_deg(self) -> Float[Tensor, "*b"]:
        """Horizontal field of view in degrees."""
        fx, cx = self.K[..., 0, 0], self.K[..., 0, 2]
        return torch.rad2deg(torch.atan(cx / fx) + torch.atan((self.width - cx) / fx))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index) -> "Cameras":
        """Index the batch dimensions."""
        times = None if self.times is None else self.times[index]
        return self._checked(self.c2w[index], self.K[index], times)

    def to(self, *args, **kwargs) -> "Cameras":
        """As `Tensor.to`, for device and floating dtype."""
        times = None if self.times is None else self.times.to(*args, **kwargs)
        return self._checked(self.c2w.to(*args, **kwargs), self.K.to(*args, **kwargs), times)

    def _checked(self, c2w: Tensor, K: Tensor, times: Tensor | None) -> "Cameras":
        """Cameras of values known to be right; checking them again would wait for the GPU."""
        cameras = object.__new__(Cameras)
        for name, value in (("c2w", c2w), ("K", K), ("width", self.width), ("height", self.height), ("times", times)):
            object.__setattr__(cameras, name, value)
        cameras._check_shapes()
        return cameras

    def flatten(self) -> "Cameras":
        """One batch dimension."""
        times = None if self.times is None else self.times.reshape(-1)
        return replace(self, c2w=self.c2w.reshape(-1, 4, 4), K=self.K.reshape(-1, 3, 3), times=times)

    def pixel_grid(self) -> Float[Tensor, "h w 2"]:
        """Pixel centres (x, y) in pixels."""
        y = torch.arange(self.height, dtype=self.K.dtype, device=self.K.device) + 0.5
        x = torch.arange(self.width, dtype=self.K.dtype, device=self.K.device) + 0.5
        return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)

    def _camera_directions(self) -> Float[Tensor, "*b h w 3"]:
        """Directions through pixel centres in camera axes, with z = 1 (so depth times direction is a point)."""
        grid = self.pixel_grid()
        K = self.K[..., None, None, :, :]
        y = (grid[..., 1] - K[..., 1, 2]) / K[..., 1, 1]
        x = (grid[..., 0] - K[..., 0, 2] - K[..., 0, 1] * y) / K[..., 0, 0]
        return torch.stack([x, y, torch.ones_like(x)], -1)

    def rays(self) -> tuple[Float[Tensor, "*b h w 3"], Float[Tensor, "*b h w 3"]]:
        """World-space origins and unit directions through pixel centres."""
        directions = torch.einsum("...ij,...hwj->...hwi", self.c2w[..., :3, :3], self._camera_directions())
        origins = self.centers[..., None, None, :].expand_as(directions)
        return origins, rotations.normalize(directions)

    def plucker(self) -> Float[Tensor, "*b 6 h w"]:
        """Pluecker coordinates (o x d, d) of the pixel rays: moment first, then unit direction (Lyra, Sec. 3)."""
        origins, directions = self.rays()
        return torch.cat([torch.linalg.cross(origins, directions), directions], -1).movedim(-1, -3)

    def project(self, points: Float[Tensor, "*b n 3"]) -> tuple[Float[Tensor, "*b n 2"], Float[Tensor, "*b n"]]:
        """World points to pixel coordinates and depth along the camera axis.

        Points behind a camera keep their true negative depth; their pixels are meaningless, so mask by depth > 0.
        """
        camera = rotations.transform_points(self.w2c, points)
        depth = camera[..., 2]
        safe = torch.where(depth.abs() < 1e-12, torch.full_like(depth, 1e-12), depth)
        x, y = camera[..., 0] / safe, camera[..., 1] / safe
        K = self.K[..., None, :, :]
        u = K[..., 0, 0] * x + K[..., 0, 1] * y + K[..., 0, 2]
        return torch.stack([u, K[..., 1, 1] * y + K[..., 1, 2]], -1), depth

    def unproject(self, depth: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h w 3"]:
        """World points of a depth map along the camera axis (z, not distance)."""
        points = self._camera_directions() * depth[..., None]
        rotated = torch.einsum("...ij,...hwj->...hwi", self.c2w[..., :3, :3], points)
        return rotated + self.centers[..., None, None, :]

    def crop(self, top: int, left: int, height: int, width: int) -> "Cameras":
        """Cameras of the image window [top : top + height, left : left + width]."""
        require(
            top >= 0 and left >= 0 and top + height <= self.height and left + width <= self.width,
            f"crop {width}x{height} at ({left}, {top}) does not fit into {self.width}x{self.height} pixels",
        )
        shift = torch.zeros(3, 3, dtype=self.K.dtype, device=self.K.device)
        shift[0, 2], shift[1, 2] = left, top
        return replace(self, K=self.K - shift, width=width, height=height)

    def pad(self, top: int, left: int, height: int, width: int) -> "Cameras":
        """Cameras of a larger image, height x width, that holds this one at (top, left)."""
        require(
            top >= 0 and left >= 0 and top + self.height <= height and left + self.width <= width,
            f"{self.width}x{self.height} pixels at ({left}, {top}) do not fit into {width}x{height}",
        )
        shift = torch.zeros(3, 3, dtype=self.K.dtype, device=self.K.device)
        shift[0, 2], shift[1, 2] = left, top
        return replace(self, K=self.K + shift, width=width, height=height)

    def resize(self, height: int, width: int) -> "Cameras":
        """Cameras of the image resampled to height x width pixels (edges stay edges)."""
        scale = torch.tensor([width / self.width, height / self.height, 1.0], dtype=self.K.dtype, device=self.K.device)
        return replace(self, K=self.K * scale[:, None], width=width, height=height)

    def transform(self, matrix: Float[Tensor, "4 4"]) -> "Cameras":
        """Move all cameras by a similarity transform of the world (rotation, uniform scale, translation)."""
        _, rotation = rotations.split_similarity(matrix)
        moved = rotations.transform_points(matrix, self.centers.reshape(-1, 3)).reshape(*self.shape, 3)
        return replace(self, c2w=rotations.compose(rotation @ self.c2w[..., :3, :3], moved))

    def relative_to_first(self) -> "Cameras":
        """The same cameras in the frame of the first one: it sits at the origin and looks along +z."""
        first = self.c2w.reshape(-1, 4, 4)[0]
        return replace(self, c2w=rotations.invert_rigid(first) @ self.c2w)
