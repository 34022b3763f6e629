"""Print foreign text as text: the one place where control characters of names and reasons are neutralised."""

from typing import Any, TextIO

from fisherscope.plain_text import printable


class PlainStream:
    """Write to a stream, every control character as text; the rest of the stream is unchanged.

    Args:
        stream: Where to write, such as `sys.stdout`.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = raw_stream(stream)

    def write(self, text: str) -> int:
        """Write text.

        Returns:
            Its number of characters.
        """
        safe = printable(text)
        try:
            self.stream.write(safe)
        except UnicodeEncodeError as error:  # a terminal whose encoding lacks a letter
            self.stream.write(safe.encode(error.encoding, "backslashreplace").decode(error.encoding))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def raw_stream(stream: Any) -> TextIO:
    """Return the stream behind a `PlainStream`, for displays that move the cursor.

    What is given to it must be made printable first.
    """
    found: TextIO = stream.stream if isinstance(stream, PlainStream) else stream
    return found
