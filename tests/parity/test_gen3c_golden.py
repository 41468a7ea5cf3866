"""Transformer, sampler and whole latent pipeline against the published GEN3C code (small random weights, float32)."""

import pytest
import torch
from golden_cases import Case, case, cases
from test_tokenizer_golden import codec_of

from lyra.teacher.codec import to_uint8
from lyra.teacher.convert import gen3c_state, load_strict
from lyra.teacher.cosmos import CameraRequest, Conditioning, CosmosConfig, CosmosDenoiser, CosmosTeacher, build
from lyra.teacher.sampler import KarrasSchedule, euler


def network_of(recorded: Case, weights: dict) -> tuple[torch.nn.Module, CosmosConfig]:
    """The transformer with the sizes and weights of a case."""
    c = recorded.config
    config = CosmosConfig(
        heads=c["num_heads"],
        head_dim=c["model_channels"] // c["num_heads"],
        blocks=c["num_blocks"],
        mlp_ratio=c["mlp_ratio"],
        text_channels=c["text_channels"],
        adaln_rank=c["adaln_lora_dim"],
        max_size=(c["max_frames"], c["max_img_h"], c["max_img_w"]),
        rope_scale=tuple(c["rope_ratio_t_h_w"]),
        latent_channels=c["out_channels"],
        fps=c["fps"],
    )
    network = build(config)
    load_strict(network, gen3c_state(weights), "GEN3C")
    return network.eval(), config


def network_for(recorded: Case, key: str) -> tuple[torch.nn.Module, CosmosConfig]:
    """The network of a sampler or pipeline case, with the sizes of the transformer case that has the same file."""
    file = recorded.spec["files"][key]["file"]
    for parameter in cases("gen3c_transformer"):
        sizes = case(parameter.values[0])
        if sizes.spec["files"]["weights"]["file"] == file:
            return network_of(sizes, recorded.weights(key))
    raise AssertionError(f"no transformer case uses {file}")


def run_network(network, t: dict, dtype: torch.dtype) -> torch.Tensor:
    """The forward pass of a transformer case, with its padding mask (which production leaves zero)."""
    padding = t["padding_mask"][:, :, None, ::8, ::8].expand(-1, -1, t["x"].shape[2], -1, -1)
    channels = torch.cat([t["x"], t["condition_mask"], t["condition_video_pose"], padding], 1).to(dtype)
    return network(
        hidden_states=channels,
        timestep=t["timesteps"],
        encoder_hidden_states=t["text"].to(dtype),
        fps=float(t["fps"]),
        return_dict=False,
    )[0]


@pytest.mark.parametrize("name", cases("gen3c_transformer"))
@torch.no_grad()
def test_transformer_equals_the_published_network(name):
    """Stage by stage. Worst share of a tolerance: 0.4."""
    recorded = case(name)
    network, _ = network_of(recorded, recorded.weights())
    t, stages = recorded.tensors, {}
    grid = tuple(recorded.tensors["patch_tokens"].shape[1:4])
    keep = lambda key: lambda _module, _inputs, output: stages.__setitem__(key, output)  # noqa: E731
    network.patch_embed.register_forward_hook(keep("patch"))
    network.learnable_pos_embed.register_forward_hook(keep("position"))
    network.time_embed.register_forward_hook(keep("time"))
    for index, block in enumerate(network.transformer_blocks):
        block.register_forward_hook(keep(f"block{index}"))
    recorded.check("out", run_network(network, t, torch.float32))
    recorded.check("patch_tokens", stages["patch"])
    recorded.check("extra_pos_emb", stages["position"].unflatten(1, grid).expand(len(t["x"]), -1, -1, -1, -1))
    recorded.check("adaln_lora_shared", stages["time"][0])
    recorded.check("time_embedding", stages["time"][1])
    for index in range(len(network.transformer_blocks)):
        recorded.check(f"block{index}_part2", stages[f"block{index}"].unflatten(1, grid))


@pytest.mark.parametrize("name", cases("gen3c_transformer"))
@torch.no_grad()
def test_transformer_in_double_precision(name):
    """The sharpest check of the function itself."""
    recorded = case(name)
    network, _ = network_of(recorded, recorded.weights())
    recorded.check("out_f64", run_network(network.double(), recorded.tensors, torch.float64))


@pytest.mark.parametrize("name", cases("gen3c_sampler"))
@torch.no_grad()
def test_sampler_equals_the_published_loop(name):
    """Every step: prepared input, both branches, result."""
    recorded = case(name)
    c, t = recorded.config, recorded.tensors
    network, config = network_for(recorded, "weights")
    known = torch.zeros_like(t["cond_latent"][:, :1])
    known[:, :, : c["conditioned_latent_frames"]] = 1
    cond = Conditioning(t["cond_latent"], known, t["buffers"], t["text"], t["neg_text"])
    denoiser = CosmosDenoiser(network, config.fps, cond, c["guidance"], t["augment_noise"])
    steps = []
    schedule = KarrasSchedule(c["steps"], c["sigma_min"], c["sigma_max"], c["rho"])
    sample = euler(denoiser, t["noise"], schedule, steps.append)
    for step in steps:
        recorded.check(f"step{step.index}_x_in", step.x)
        recorded.check(f"step{step.index}_net_cond", denoiser.branch(step.x, step.sigma, conditional=True))
        recorded.check(f"step{step.index}_net_uncond", denoiser.branch(step.x, step.sigma, conditional=False))
        recorded.check(f"step{step.index}_x_out", step.result)
    recorded.check("sample", sample)


@pytest.mark.parametrize("name", cases("gen3c_sampler"))
def test_noise_levels(name):
    recorded = case(name)
    c = recorded.config
    for key in recorded.tensors:
        if key.startswith("sigmas_"):
            steps = int(key.removeprefix("sigmas_"))
            sigmas = KarrasSchedule(steps, c["sigma_min"], c["sigma_max"], c["rho"]).sigmas()
            recorded.check(key, sigmas)
            recorded.check(f"timesteps_{steps}", 0.25 * sigmas[:-1].log())


@pytest.mark.parametrize("name", cases("gen3c_pipeline"))
@torch.no_grad()
def test_pipeline_equals_the_published_one(name):
    """Image and warped buffers to uint8 frames."""
    recorded = case(name)
    c, t = recorded.config, recorded.tensors
    network, config = network_for(recorded, "network_weights")
    file = recorded.spec["files"]["tokenizer_weights"]["file"]
    tokenizer = next(
        found for p in cases("tokenizer") if (found := case(p.values[0])).spec["files"]["weights"]["file"] == file
    )
    codec = codec_of(tokenizer, recorded.weights("tokenizer_weights"))
    teacher = CosmosTeacher(codec, network, config)
    request = CameraRequest(t["image"][:, :, 0], t["warped"], t["mask"].float(), t["text"], t["neg_text"])
    cond = teacher.condition(request)
    recorded.check("buffer_latents", cond.buffers)
    padded = torch.cat([t["image"], t["image"].new_zeros(1, 3, c["frames"] - 1, c["height"], c["width"])], 2)
    recorded.check("cond_latent", codec.encode(padded))
    assert (cond.latent[:, :, 0] - t["cond_latent"][:, :, 0]).abs().max() < 1e-5
    augment = torch.from_numpy(_reference_noise(c["seed_augment"], t["noise"].shape))
    steps = []
    sample = teacher.sample(
        cond,
        t["noise"],
        schedule=KarrasSchedule(c["steps"]),
        guidance=c["guidance"],
        augment_noise=augment,
        on_step=steps.append,
    )
    for step in steps:
        recorded.check(f"step{step.index}_x_out", step.result)
    recorded.check("sample", sample)
    video = codec.decode(sample)
    recorded.check("decoded", video[:, :, : t["decoded"].shape[2]])
    frames = to_uint8(video)[0].permute(1, 2, 3, 0).int()
    difference = (frames - t["video_uint8"].int()).abs()
    assert difference.max() <= 1 and (difference > 0).float().mean() < 1e-3


def _reference_noise(seed: int, shape: torch.Size):
    """The published code draws the augmentation noise with numpy's legacy generator."""
    import numpy as np

    return np.random.RandomState(seed).standard_normal(tuple(shape)).astype(np.float32)
