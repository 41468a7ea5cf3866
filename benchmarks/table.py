"""Prints the README's table of numbers from the recorded results: python -m benchmarks.table."""

import json

from benchmarks.record import RESULTS


def _lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (RESULTS / name).read_text().splitlines()]


def _last(rows: list[dict], what: str, **config) -> dict:
    """The newest result of this name whose configuration has these values."""
    return [r for r in rows if r["what"] == what and all(r["config"].get(k) == v for k, v in config.items())][-1]


def rows() -> list[tuple[str, str, str, str]]:
    """(what, value, machine, commit), newest results."""
    return _jobs() + _full_scale() + _parts()


def _jobs() -> list[tuple[str, str, str, str]]:
    """The main job and its teacher."""
    runs = _lines("generate.jsonl")
    cpu = _last(runs, "generate", quality="standard", device="cpu")
    memory = _last(runs, "generate peak memory, host", quality="standard", device="cpu")
    loaded, six = _last(runs, "generate, loaded"), _last(runs, "six trajectories", device="cuda")
    clips = _lines("video.jsonl")
    clip, clip_loaded = _last(clips, "video", quality="standard", device="cpu"), _last(clips, "video, loaded")
    warp = _last(_lines("warp.jsonl"), "warp", size=[1280, 704], device="cuda")
    return [
        ("Photograph to viewer, mini", f"{cpu['value']:.0f} s, {memory['value']:.1f} GB", "2 cores", cpu["commit"]),
        ("Photograph to scene, mini, networks in memory", f"{loaded['value']:.1f} s", "H100", loaded["commit"]),
        ("Video of 25 frames to 4D viewer, mini", f"{clip['value']:.0f} s", "2 cores", clip["commit"]),
        ("The same, networks in memory", f"{clip_loaded['value']:.1f} s", "H100", clip_loaded["commit"]),
        ("Six videos of the teacher, mini", f"{six['value']:.2f} s", "H100", six["commit"]),
        ("Warp of a 1280x704 photograph to 121 views", f"{warp['value']:.2f} s", "H100", warp["commit"]),
    ]


def _full_scale() -> list[tuple[str, str, str, str]]:
    """The published sizes, with random weights."""
    runs, found = _lines("full_scale.jsonl"), []
    for what, name in (
        ("decoder, maps kept", "Published decoder, six videos of 121 frames at 1280x704, ray maps kept"),
        ("training step, last stage", "The same, one training step of the last stage"),
        ("GEN3C forward", "GEN3C, one forward of 121 frames at 1280x704"),
    ):
        seconds, memory = _last(runs, what), _last(runs, f"{what}: peak memory")
        value = f"{seconds['value']:.1f} s, {memory['value']:.0f} GiB"
        found.append((f"{name} (random weights)", value, "H100", seconds["commit"]))
    return found


def _parts() -> list[tuple[str, str, str, str]]:
    """Renderers, files, world engine."""
    found = []
    render = _lines("render.jsonl")
    for scene, name in (("pixel_aligned", "like a decoder's"), ("blobs", "large")):
        speed = _last(render, "render/cpu", scene=scene)
        ratio = _last(render, "render/cpu over plain torch", scene=scene)
        found.append(
            (f"Render 448x256, 250,000 splats ({name}), CPU",
             f"{speed['value']:.0f} frames/s, {ratio['value']:.0f}x plain torch", "2 cores", speed["commit"])
        )  # fmt: skip
    parity = json.loads((RESULTS / "render_parity_h100.json").read_text())
    large = next(t for t in parity["timings"] if t["backend"] == "cuda" and t["gaussians"] > 900_000)
    found.append(
        ("Render 1280x704, 1,000,000 splats, gsplat",
         f"{large['forward_ms']:.1f} ms, {large['with_backward_ms']:.1f} ms with gradients", "H100", parity["commit"])
    )  # fmt: skip
    files = _lines("files.jsonl")
    for suffix in (".ply", ".spz"):
        write, read = (
            _last(files, f"files.{verb}", format=suffix, count=1_000_000, sh_degree=3) for verb in ("write", "read")
        )
        value = f"write {write['value'] / 1000:.1f} s, read {read['value'] / 1000:.1f} s"
        found.append((f"1,000,000 splats with SH 3, {suffix}", value, "2 cores", write["commit"]))
    world = _lines("world_dataset.jsonl")[-1]
    value = f"{world['value']:.0f} frames/s ({world['frames']:,} frames of {world['scenes']} scenes, set-up included)"
    found.append(("World engine, 448x256 RGB-D", value, "H100", world["commit"]))
    return found


def main() -> None:
    """Print the table as Markdown."""
    print("| what | measured | machine | commit |\n|---|---|---|---|")
    for row in rows():
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
