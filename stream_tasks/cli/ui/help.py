"""What stands below a command's options in its help."""

from collections.abc import Mapping

__all__ = ["epilog"]

_VERBATIM = "\b"  # click does not wrap a paragraph that begins with this


def epilog(*examples: str, exit_codes: Mapping[int, str] | None = None) -> str:
    """Lay out exit codes and examples.

    Args:
        examples: Command lines, and ``# comments`` before them, each at most 76 characters long.
        exit_codes: What each exit code means, in one line each.

    Returns:
        The text for a command's ``epilog``.
    """
    blocks = []
    if exit_codes:
        width = max(len(str(code)) for code in exit_codes)
        blocks.append(["Exit codes:", *(f"  {code:<{width}}  {what}" for code, what in exit_codes.items())])
    blocks.append(["Examples:", *(f"  {example}" for example in examples)])
    return "\n\n".join("\n".join([_VERBATIM, *block]) for block in blocks)
