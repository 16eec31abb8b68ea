"""How what is missing gets installed: one sentence for every message that has to say it."""

from __future__ import annotations


def install_command(extra: str = "") -> str:
    """The command for an extra ("server", "models", "farm"), or for the thin side alone.

    From the checkout and with its constraints: an index may have anything under our name, and torch in any size.
    """
    what = f".[{extra}]" if extra else "."
    return f"pip install -c constraints.txt '{what}' in mattebridge's checkout"
