"""`lyra paths`: the camera paths that need no file."""

from lyra.cli.report import AsJson, finish


def paths(*, json: AsJson = False) -> None:
    """List the preset camera paths that `lyra render --path NAME` takes."""
    from lyra.scene.trajectories import PRESETS

    width = max(len(name) for name in PRESETS)
    lines = [f"{path.name:<{width}}  {path.help}{' (loops)' if path.loops else ''}" for path in PRESETS.values()]
    finish({path.name: {"help": path.help, "loops": path.loops} for path in PRESETS.values()}, "\n".join(lines), json)
