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
