"""`python -m worlds VERB ...`: the verbs of the world engine, each a `main(arguments)` of its own module."""

import importlib
import sys

from worlds.errors import WorldsError

VERBS = {
    "fetch": ("worlds.fetch", "get the asset packages from their registries into a cache"),
    "pack": ("worlds.build", "write the compact packs from the cache"),
    "splits": ("worlds.splits", "write the list of validation and test assets for a set of packs"),
    "render": ("worlds.dataset", "render scenes: the six trajectories, walks, moving content"),
    "contact": ("worlds.contact", "make a contact sheet of rendered scenes"),
    "statistics": ("worlds.statistics", "measure depth range, coverage and motion of rendered scenes"),
    "evalset": ("worlds.evalset", "render the public evaluation set"),
}


def main(arguments: list[str]) -> int:
    """Run one verb; returns the exit code (2 for bad input, with one sentence on stderr)."""
    if not arguments or arguments[0] not in VERBS:
        print("usage: python -m worlds VERB [options]   (-h after a verb explains it)\n", file=sys.stderr)
        for verb, (_, what) in VERBS.items():
            print(f"  {verb:10} {what}", file=sys.stderr)
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    try:
        importlib.import_module(VERBS[arguments[0]][0]).main(arguments[1:])
    except WorldsError as error:
        print(f"worlds {arguments[0]}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
