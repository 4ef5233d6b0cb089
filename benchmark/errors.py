"""The errors and warnings that a user is meant to read."""

LONGEST = 2000  # characters of a line that somebody reads


class InputError(Exception):
    """Something the user gave cannot be used.

    The message is one line that names the file or option, what was found, what is accepted and
    what to do. The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, message: str):
        line = " ".join(message.split())
        super().__init__(line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}")


class RunError(Exception):
    """A run cannot go on though its input was right; the command line prints one line and exits with code 1."""


class Notice(UserWarning):
    """Something that a user should read though the work goes on: ``warnings.warn(message, Notice)``, one line.

    It reaches standard error as ``warning: <message>``, also from a process of the cluster.
    """
