"""The video codec against the published Cosmos tokenizer (random weights, float32)."""

import pytest
import torch
from einops import rearrange
from golden_cases import Case, case, cases

from lyra.teacher.codec import VideoCodec
from lyra.teacher.convert import load_strict, tokenizer_state
from lyra.vae.causal_vae import VaeConfig


def codec_of(recorded: Case, weights: dict) -> VideoCodec:
    """The codec with the sizes, weights and statistics of a case."""
    c = recorded.config
    widths = [c["channels"] * m for m in c["channels_mult"]]
    config = VaeConfig(
        encoder_channels=(c["channels"], *widths),
        decoder_channels=(*widths, widths[-1]),
        latent_channels=c["latent_channels"],
        layers=c["num_res_blocks"],
        attention_resolutions=tuple(c["attn_resolutions"]),
        patch=c["haar_patch_size"],
        space=c["spatial_compression"],
        time=c["temporal_compression"],
    )
    tables = [recorded.tensors[name].reshape(c["latent_channels"], -1) for name in ("mean_table", "std_table")]
    codec = VideoCodec(config, *tables)
    load_strict(codec.vae, tokenizer_state(weights), "tokenizer")
    return codec.eval()


@pytest.mark.parametrize("name", cases("tokenizer"))
@torch.no_grad()
def test_codec_equals_the_published_tokenizer(name):
    """Worst share of a tolerance: reconstruction, 0.3."""
    recorded = case(name)
    codec = codec_of(recorded, recorded.weights())
    video = recorded.tensors["video"]
    recorded.check("haar", codec.vae.encoder.patch_embed(video))
    latent = codec.encode_raw(video)
    recorded.check("latent", latent)
    recorded.check("reconstruction", codec.decode_raw(latent))
    recorded.check("latent_normalised", codec.encode(video))
    alone = codec.encode_raw(video[:, :, :1])
    recorded.check("latent_first_frame_only", alone)
    recorded.check("reconstruction_first_frame_only", codec.decode_raw(alone))
    padded = torch.cat([video[:, :, :1], torch.zeros_like(video[:, :, 1:])], 2)
    recorded.check("latent_image_then_zeros", codec.encode_raw(padded))


@pytest.mark.parametrize("name", cases("tokenizer"))
def test_unnormalised_latents_are_what_the_splat_decoder_reads(name):
    """Worst difference 2e-7."""
    recorded = case(name)
    codec = codec_of(recorded, recorded.weights())
    stored = rearrange(
        recorded.tensors["student_latents_normalised"], "(v c) t h w -> v c t h w", c=codec.spec.channels
    )
    raw = codec.to_raw(stored)
    recorded.check("student_latents", rearrange(raw, "v c t h w -> (v t) c h w"))
