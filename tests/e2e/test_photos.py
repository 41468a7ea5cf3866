"""Photographs as people have them: every kind of file becomes a picture of the model's size, or one sentence."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from lyra.io.images import load_image
from lyra.pipeline.photo import cover, read_photo
from lyra.scene import InputError

SIZE = (128, 64)


def gradient(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Red rises to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 0 * x], -1).astype(np.uint8)).convert(mode)


def photo(image: Image.Image, path, **options):
    image.save(path, **options)
    return read_photo(path, *SIZE)


def test_cover_takes_the_largest_middle_part():
    picture = torch.rand(3, 100, 400)
    part, share = cover(picture, 100, 50)
    assert part.shape == (3, 50, 100) and share == pytest.approx(0.5)
    same, whole = cover(picture, 400, 100)
    assert torch.equal(same, picture) and whole == 1.0
    tall, _ = cover(picture.transpose(1, 2), 64, 64)
    assert tall.shape == (3, 64, 64)


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "P", "L", "1", "RGBA", "LA"])
def test_every_mode_becomes_colour(tmp_path, mode):
    image = gradient(200, 100).convert("RGBA").convert(mode) if mode == "LA" else gradient(200, 100, mode)
    made = photo(image, tmp_path / ("photo.tif" if mode in ("CMYK", "LA") else "photo.png"))
    assert made.image.shape == (3, 64, 128) and made.notes == () and made.full_size == (200, 100)
    assert float(made.image.amin()) >= 0 and float(made.image.amax()) <= 1
    left, right = made.image[0, :, :16].mean(), made.image[0, :, -16:].mean()
    assert right > left + 0.1  # measured: 0.26 in grey, 0.86 in colour


def test_transparency_is_laid_over_white(tmp_path):
    made = photo(Image.new("RGBA", (200, 100), (0, 0, 0, 0)), tmp_path / "clear.png")
    assert float(made.image.amin()) > 1 - 1e-6  # measured: 1 - 1.2e-7


def test_sixteen_bits(tmp_path):
    values = np.tile(np.linspace(0, 65535, 200).astype(np.uint16), (100, 1))
    made = photo(Image.fromarray(values), tmp_path / "deep.png")
    assert made.image[0, 0, 0] < 0.02 and made.image[0, 0, -1] > 0.98


def test_orientation_tag_turns_the_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    gradient(200, 400).save(tmp_path / "turned.jpg", exif=exif)
    made = read_photo(tmp_path / "turned.jpg", *SIZE)
    assert made.full_size == (400, 200)
    assert made.image[1, :, 0].mean() > made.image[1, :, -1].mean() + 0.5  # what pointed down points left


def test_an_animation_gives_its_first_frame_and_a_note(tmp_path):
    frames = [Image.new("RGB", (200, 100), colour) for colour in ("red", "blue")]
    made = photo(frames[0], tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert "first frame" in made.notes[0]
    assert made.image[0].mean() > 0.9 and made.image[2].mean() < 0.1


def test_a_portrait_picture_gets_a_note(tmp_path):
    made = photo(gradient(200, 300), tmp_path / "tall.png")
    assert "--size 64x128 keeps more" in made.notes[0] and made.notes[0].startswith("33%")


def test_a_panorama_of_thirty_thousand_pixels(tmp_path):
    Image.new("RGB", (30_000, 4_000), (200, 100, 50)).save(tmp_path / "wide.jpg")
    shrunk = load_image(tmp_path / "wide.jpg", shortest=256)
    assert shrunk.shape[1] < 600  # decoded at a fraction, so memory stays that of a small picture
    made = read_photo(tmp_path / "wide.jpg", *SIZE)
    assert made.image.shape == (3, 64, 128) and made.notes and made.full_size == (30_000, 4_000)
    # measured: off by 0.0027, the rounding of JPEG
    assert torch.allclose(made.image.mean((1, 2)), torch.tensor([200, 100, 50]) / 255, atol=0.01)


def test_shrinking_while_reading_shows_the_same(tmp_path):
    gradient(800, 600, "P").save(tmp_path / "large.png")
    gradient(800, 600).convert("RGB").save(tmp_path / "plain.png")
    whole, small = load_image(tmp_path / "plain.png"), load_image(tmp_path / "plain.png", shortest=150)
    assert small.shape == (3, 150, 200)
    assert torch.allclose(small, torch.nn.functional.avg_pool2d(whole, 4), atol=0.003)  # measured: 0.0020, one byte
    assert load_image(tmp_path / "large.png", shortest=150).shape == (3, 150, 200)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"just some text, not a picture", "is not an image"),
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "damaged|not an image"),
    ],
)
def test_what_is_no_picture_is_one_sentence(tmp_path, content, message):
    (tmp_path / "photo.jpg").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_photo(tmp_path / "photo.jpg", *SIZE)


def test_cut_short_missing_and_folder(tmp_path):
    data = io.BytesIO()
    gradient(300, 300).save(data, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(data.getvalue()[:1500])
    for path, message in (("cut.jpg", "damaged"), ("none.jpg", "no such file"), (".", "is a folder")):
        with pytest.raises(InputError, match=message):
            read_photo(tmp_path / path, *SIZE)


@pytest.mark.parametrize("size", [(1, 1), (63, 500), (500, 3)])
def test_too_small(tmp_path, size):
    with pytest.raises(InputError, match="at least 64 pixels a side"):
        photo(Image.new("RGB", size), tmp_path / "dot.png")


def test_tensors():
    picture = torch.rand(3, 64, 128)
    assert torch.equal(read_photo(picture, *SIZE).image, picture)
    for wrong in (picture[:1], picture * 255, (picture * 255).byte(), picture * torch.nan):
        with pytest.raises(InputError):
            read_photo(wrong, *SIZE)
