"""The one exception that means: the user can fix this, and one line says how; and others' texts in one line."""


class InputError(ValueError):
    """Bad input in one line: what is wrong, which value, what is allowed.

    The batch runner and the command lines print its text alone, without a traceback; IPython's kernels do so, too.
    """

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())  # a value that is quoted may hold the end of a line

    def _render_traceback_(self) -> list[str]:
        """The lines that IPython shows for it."""
        return [f"{type(self).__name__}: {self}"]


def one_line(error: Exception) -> str:
    """The error's kind and text in one line of at most 300 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
