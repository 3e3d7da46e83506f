"""Text as HTML and SVG: what comes from a run is shown, never obeyed."""

import re
from html import escape

# Control characters that HTML does not know, and marks that turn the direction of what follows.
_UNSHOWN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def shown(value: object, most: int = 2_000) -> str:
    """Returns a value as text that cannot be markup, cut after so many characters."""
    text = str(value)
    if len(text) > most:
        text = f"{text[:most]} …"
    return escape(_UNSHOWN.sub("\N{REPLACEMENT CHARACTER}", text), quote=True)


def element(name: str, content: str = "", **attributes: object) -> str:
    """Returns an element around markup.

    Args:
        name: Of the element.
        content: Markup; text must have been through `shown`.
        attributes: Values are escaped here; underscores in names stand for hyphens, and a last one
            is dropped.
    """
    words = [f'{key.rstrip("_").replace("_", "-")}="{shown(v)}"' for key, v in attributes.items()]
    return f"<{' '.join([name, *words])}>{content}</{name}>"
