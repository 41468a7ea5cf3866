"""Image files of every kind a user may bring, and the pictures and depth maps that are written."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from unit.strategies import generator, random_cameras, seeds

from lyra.io.fitting import cover, cover_window, letterbox, resample, resize
from lyra.io.images import colour_depth, load_depth, load_image, save_depth, save_image, to_uint8
from lyra.scene import InputError


def photo(height: int = 24, width: int = 36, seed: int = 0, channels: int = 3) -> torch.Tensor:
    """A smooth random picture with exact bytes."""
    small = torch.rand(1, channels, 4, 5, generator=generator(seed))
    picture = torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)[0]
    return to_uint8(picture).float() / 255


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def as_pillow(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(to_uint8(image).movedim(0, -1).numpy())


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * (a - b).square().mean().clamp_min(1e-12).log10())


@settings(max_examples=20)
@given(seeds, st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3, 4]))
def test_png_survives_bit_for_bit(tmp_path_factory, seed, height, width, channels):
    path = tmp_path_factory.mktemp("png") / "a.png"
    image = photo(height, width, seed, channels)
    save_image(image, path)
    back = load_image(path, alpha=channels == 4)
    assert back.equal(image if channels > 1 else image.expand(3, -1, -1))
    assert back.dtype == torch.float32


@pytest.mark.parametrize("suffix, least", [(".png", 110), (".jpg", 38), (".jpeg", 38), (".webp", 38)])
def test_lossy_files_look_the_same(tmp_path, suffix, least):
    """Measured: JPEG 43.1 dB, WebP 42.1 dB on a smooth picture."""
    save_image(photo(48, 64), tmp_path / f"a{suffix}")
    assert psnr(load_image(tmp_path / f"a{suffix}"), photo(48, 64)) > least


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    """The upright picture is the same for all eight ways a camera may be held."""
    upright = as_pillow(photo())
    # What must be done to the stored picture to see it upright, and so its inverse to store it.
    undo = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90",
            7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose[undo[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert load_image(encoded(stored, exif=exif)).equal(photo())


def test_transparency_lies_over_white_or_is_returned():
    image = photo(channels=4)
    flat = load_image(encoded(as_pillow(image)))
    torch.testing.assert_close(flat, image[:3] * image[3:] + 1 - image[3:])
    assert load_image(encoded(as_pillow(image)), alpha=True).equal(image)
    opaque = load_image(encoded(as_pillow(photo())), alpha=True)
    assert opaque[:3].equal(photo())
    assert bool((opaque[3] == 1).all())


def test_palettes_grey_grey_with_alpha_and_bilevel():
    colours = as_pillow(photo()).quantize(16)
    assert load_image(encoded(colours)).equal(load_image(encoded(colours.convert("RGB"))))
    clear = colours.copy()
    clear.info["transparency"] = 0
    shown = load_image(encoded(clear, transparency=0), alpha=True)
    assert bool((shown[3].reshape(-1)[torch.from_numpy(np.asarray(clear).reshape(-1).copy()) == 0] == 0).all())
    grey = as_pillow(photo()).convert("L")
    assert load_image(encoded(grey)).equal(load_image(encoded(grey.convert("RGB"))))
    alpha = as_pillow(photo(channels=4)).convert("LA")
    assert load_image(encoded(alpha)).equal(load_image(encoded(alpha.convert("RGBA"))))
    assert set(load_image(encoded(grey.convert("1"))).unique().tolist()) <= {0.0, 1.0}


def test_sixteen_bits_keep_their_range():
    values = np.linspace(0, 65535, 24 * 36).reshape(24, 36).astype(np.uint16)
    for kind in ("PNG", "TIFF"):
        image = load_image(encoded(Image.fromarray(values), kind))
        np.testing.assert_allclose(image[1].numpy(), values / 65535, atol=1e-6)


def test_sixteen_bit_colour_png():
    """Pillow keeps the upper byte of each value."""
    values = np.linspace(0, 65535, 4 * 5 * 3).reshape(4, 5, 3).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    image = load_image(data)
    np.testing.assert_allclose(image.movedim(0, -1).numpy(), values.astype(float) / 65535, atol=1 / 255)


def test_cmyk_and_animations():
    cmyk = load_image(encoded(as_pillow(photo(48, 64)).convert("CMYK"), "JPEG", quality=95))
    assert psnr(cmyk, photo(48, 64)) > 35
    frames = [as_pillow(photo(seed=i)).quantize(64) for i in range(3)]
    gif = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert load_image(gif).equal(load_image(encoded(frames[0].convert("RGB"))))
    webp = encoded(as_pillow(photo()), "WEBP", save_all=True, append_images=[as_pillow(photo(seed=1))], lossless=True)
    assert load_image(webp).equal(photo())


def test_colour_profiles_are_converted_and_broken_ones_ignored():
    """A picture tagged with another profile shows other sRGB values; one tagged sRGB, or with garbage, its own."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tagged = load_image(encoded(as_pillow(photo()), icc_profile=srgb))
    assert float((tagged - photo()).abs().max()) <= 1.01 / 255
    assert load_image(encoded(as_pillow(photo()), icc_profile=b"garbage" * 40)).equal(photo())
    swapped = bytearray(srgb)  # a profile whose red and blue primaries are exchanged
    entries = range(132, 132 + 12 * struct.unpack(">I", srgb[128:132])[0], 12)
    tags = {srgb[at : at + 4]: at for at in entries}
    swapped[tags[b"rXYZ"] : tags[b"rXYZ"] + 4], swapped[tags[b"bXYZ"] : tags[b"bXYZ"] + 4] = b"bXYZ", b"rXYZ"
    red = torch.zeros(3, 4, 4)
    red[0] = 1
    seen = load_image(encoded(as_pillow(red), icc_profile=bytes(swapped)))
    assert float(seen[2].mean()) > 0.9
    assert float(seen[0].mean()) < 0.1


def test_paths_bytes_and_a_single_pixel(tmp_path):
    save_image(torch.full((3, 1, 1), 0.2), str(tmp_path / "dot.png"))
    assert load_image(tmp_path / "dot.png").shape == (3, 1, 1)
    assert load_image((tmp_path / "dot.png").read_bytes())[0, 0, 0] == pytest.approx(0.2)


def test_more_than_a_hundred_megapixels_are_refused():
    with pytest.raises(InputError, match="121 megapixels"):
        load_image(encoded(Image.new("1", (11_000, 11_000))))


def test_values_outside_the_range_are_clamped(tmp_path):
    save_image(torch.tensor([-1.0, 2.0, float("nan")]).view(3, 1, 1), tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").flatten().tolist() == [0, 1, 0]


def test_what_cannot_be_written_is_refused_and_nothing_is_left(tmp_path):
    for name, image, sentence in (
        ("a.bmp", photo(), "written as"), ("a", photo(), "without suffix"), ("a.png", photo()[:2], "must be"),
        ("none/a.png", photo(), "does not exist"), ("a.png", torch.zeros(3, 0, 4), "must be"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=sentence):
            save_image(image, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=20)
@given(seeds, st.sampled_from([0.001, 0.01, 1 / 256]))
def test_depth_survives_to_half_a_unit(tmp_path_factory, seed, unit):
    path = tmp_path_factory.mktemp("depth") / "d.png"
    depth = 60 * torch.rand(6, 9, generator=generator(seed))
    depth[0, 0], depth[0, 1], depth[0, 2] = float("nan"), -1, float("inf")
    save_depth(depth, path, unit=unit)
    back, valid = load_depth(path, unit=unit)
    assert valid.equal(depth.isfinite() & (depth > 0))
    # Nearer than half a unit is stored as one unit, since 0 means unknown.
    assert float((back - depth.clamp_min(unit))[valid].abs().max()) <= unit / 2 * 1.001
    assert not bool(back[~valid].any())


def test_depth_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"unit of 0\.0031 or more"):
        save_depth(torch.full((2, 2), 200.0), tmp_path / "d.png")
    with pytest.raises(InputError, match=r"\.png"):
        save_depth(torch.ones(2, 2), tmp_path / "d.jpg")
    save_image(photo(), tmp_path / "colour.png")
    with pytest.raises(InputError, match="no depth"):
        load_depth(tmp_path / "colour.png")


def test_near_is_bright_far_is_dark_unknown_is_black():
    depth = torch.linspace(1, 20, 200).view(1, 200)
    colours = colour_depth(depth)
    assert colours.shape == (3, 1, 200)
    assert bool((colours.sum(0)[0].diff() <= 1e-6).all())
    assert float(colours.min()) >= 0
    assert float(colours.max()) <= 1
    valid = depth < 10
    assert bool((colour_depth(depth, valid)[:, ~valid] == 0).all())
    assert bool((colour_depth(torch.full((2, 4, 5), float("nan"))) == 0).all())
    assert colour_depth(torch.rand(7, 4, 5) + 1).shape == (7, 3, 4, 5)
    assert bool(colour_depth(torch.ones(3, 3)).isfinite().all())


# ---- sizes changed together with cameras


def seen_at(image: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Bilinear samples of [c, h, w] at pixel coordinates [n, 2]."""
    size = torch.tensor([image.shape[-1], image.shape[-2]], dtype=pixels.dtype)
    grid = (2 * pixels / size - 1)[None, None]
    return torch.nn.functional.grid_sample(image[None], grid, align_corners=False)[0, :, 0]


@given(seeds, st.integers(12, 40), st.integers(12, 40), st.sampled_from(["resize", "cover", "letterbox"]))
def test_a_world_point_keeps_its_colour(seed, height, width, how):
    """Whatever is done to size and lens, a point is seen with the colour it had.

    A linear ramp is kept exactly by resampling up, and nearly so (the filter is cut off) down: worst difference 0.07 of
    a source pixel, where a wrong pixel centre would make 0.35 or more.
    """
    cameras = random_cameras(1, seed, 36, 28)[0]
    ramp = cameras.pixel_grid().movedim(-1, 0)
    image, fitted = {"resize": resize, "cover": cover, "letterbox": letterbox}[how](ramp, cameras, height, width)
    assert image.shape == (2, height, width)
    assert (fitted.height, fitted.width) == (height, width)
    centre = torch.tensor([18.0, 14.0], dtype=torch.float64) + torch.tensor([[0.0, 0], [1, 1], [-1.5, -1], [1, -0.5]])
    depth = torch.ones(4, dtype=torch.float64)
    directions = torch.linalg.solve(cameras.K, torch.cat([centre, depth[:, None]], -1).T).T
    points = directions @ cameras.c2w[:3, :3].T + cameras.centers
    torch.testing.assert_close(seen_at(image, fitted.project(points)[0]).T, centre, atol=0.1, rtol=0)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_cover_window_is_inside_and_has_the_shape(height, width, to_height, to_width):
    top, left, h, w = cover_window(height, width, to_height, to_width)
    assert 0 <= top <= height - h
    assert 0 <= left <= width - w
    assert h >= 1
    assert w >= 1
    assert h == height or w == width
    assert abs(w - h * to_width / to_height) <= max(0.5, 0.5 * to_width / to_height)


def test_fitting_keeps_batches_and_refuses_other_cameras():
    cameras = random_cameras(2, 0, 36, 24)
    images = torch.stack([photo().double(), photo(seed=1).double()])
    fitted, _ = cover(images, cameras, 10, 20)
    torch.testing.assert_close(fitted[1], cover(images[1], cameras[1], 10, 20)[0])
    mask = (images > 0.5).double()
    assert set(resample(mask, 5, 7, nearest=True).unique().tolist()) <= {0.0, 1.0}
    padded, _ = letterbox(images, cameras, 40, 36, value=0.25)
    assert bool((padded[..., 0, :] == 0.25).all())
    with pytest.raises(InputError, match="but its camera"):
        resize(images[..., 1:, :], cameras, 5, 5)
    with pytest.raises(InputError, match="1x1"):
        resample(images, 0, 5)
