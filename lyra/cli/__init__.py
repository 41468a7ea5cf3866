"""The `lyra` command: one verb, one function. Nothing heavy is imported before a verb needs it."""

import json
import os
import sys
from collections.abc import Callable


def _verbs() -> dict[str, Callable]:
    from lyra.cli.doctor import doctor
    from lyra.cli.evaluate import evaluate
    from lyra.cli.export import export
    from lyra.cli.generate import generate
    from lyra.cli.imagine import imagine
    from lyra.cli.info import info
    from lyra.cli.paths import paths
    from lyra.cli.render import render
    from lyra.cli.synthesize import synthesize
    from lyra.cli.train import train
    from lyra.cli.view import view

    making, showing = {"generate": generate, "imagine": imagine}, {"render": render, "view": view}
    training = {"synthesize": synthesize, "train": train}
    asking = {"export": export, "info": info, "evaluate": evaluate, "paths": paths, "doctor": doctor}
    return making | showing | training | asking


def main() -> None:
    """Entry point. Exit codes: 0 done, 2 bad input (one sentence on stderr), 130 interrupted; bugs show a traceback."""
    import tyro

    try:
        tyro.extras.subcommand_cli_from_dict(
            _verbs(),
            prog="lyra",
            description="Explicit 3D and 4D Gaussian-splatting scenes: make, render, view, convert, inspect.",
            sort_subcommands=False,
        )
    except ValueError as error:
        if not _is_input_error(error):
            raise
        _fail(str(error))
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{(error.strerror or str(error)).lower()}; check the path and its permissions")
    except KeyboardInterrupt:
        print("lyra: interrupted", file=sys.stderr)
        sys.exit(130)


def _is_input_error(error: ValueError) -> bool:
    """Without importing torch: if `lyra.scene` was never imported, the error is not one of ours."""
    errors = sys.modules.get("lyra.scene.errors")
    return errors is not None and isinstance(error, errors.InputError)


def _fail(sentence: str) -> None:
    as_json = "--json" in sys.argv
    print(json.dumps({"error": sentence}) if as_json else f"lyra: {sentence}", file=sys.stderr)
    sys.exit(2)
