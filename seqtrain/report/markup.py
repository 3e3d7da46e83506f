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


def scrolled(content: str, label: str, kind: str = "div") -> str:
    """Returns a frame that content wider than the page is scrolled in, by the keyboard too.

    Args:
        content: Markup.
        label: What it is, for people who cannot see it.
        kind: Name of the frame's element.
    """
    return element(kind, content, class_="wide", tabindex=0, role="region", aria_label=label)


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
