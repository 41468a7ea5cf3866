"""Contact sheets: rows of pictures with their names on top."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from lyra.io.images import to_uint8
from lyra.scene import require

_BAR = 16  # pixels of the line with the names


def write_sheet(
    rows: Sequence[Sequence[Float[Tensor, "3 h w"]]], names: Sequence[str], path: Path, shrink: int = 2
) -> None:
    """Write rows of equally large pictures in [0, 1], one column a name, `shrink` times smaller."""
    require(bool(rows) and all(len(row) == len(names) for row in rows), "a sheet needs as many pictures a row as names")
    lines = [torch.cat(list(row), -1) for row in rows]
    array = to_uint8(torch.cat(lines, -2)).movedim(0, -1).cpu().numpy()
    picture = Image.fromarray(np.ascontiguousarray(array))
    picture = picture.resize((picture.width // shrink, picture.height // shrink), Image.Resampling.BOX)
    sheet = Image.new("RGB", (picture.width, picture.height + _BAR), "white")
    sheet.paste(picture, (0, _BAR))
    draw = ImageDraw.Draw(sheet)
    for index, name in enumerate(names):
        draw.text((index * picture.width // len(names) + 4, 2), name, fill="black")
    sheet.save(path)
