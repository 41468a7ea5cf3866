"""The one exception of the world engine for bad input."""


class WorldsError(ValueError):
    """A file, package or argument that cannot be used as it is; the message is one sentence a user can act on.

    The world engine keeps its own class so that reading packs in many render processes does not import torch.
    `python -m worlds` prints the sentence without a traceback and exits with code 2.
    """
