"""The one exception for bad input: a sentence a user can act on."""


class InputError(ValueError):
    """Bad input from outside: a file, an argument or an array that cannot be used as it is.

    The message is one sentence that says what was expected, what came and what to do. The command line prints it
    without a traceback and exits with code 2.
    """


def require(condition: bool, sentence: str) -> None:
    """Raise `InputError(sentence)` unless `condition` holds."""
    if not condition:
        raise InputError(sentence)
