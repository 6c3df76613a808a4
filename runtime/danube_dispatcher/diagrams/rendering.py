"""From Graphviz's language to a picture."""

from __future__ import annotations

import re
import shutil
from importlib import import_module

from ..errors import UsageError
from .paint import dark_style, markup

DPI = 192
"""Of a PNG: its letters are twice as large as on a page, so that it can be enlarged, and is sharp where a pixel is half as large."""


def picture(text: str, format: str, title: str, description: str) -> bytes:
    """A text in Graphviz's language as "svg" or "png". Raises UsageError when the extra `diagrams` is not installed."""
    if format == "png":
        return _graphviz(text.removesuffix("}\n") + f"  dpi={DPI}\n}}\n", format)
    return _accessible(_graphviz(text, format).decode(), title, description).encode()


def _accessible(svg: str, title: str, description: str) -> str:
    """Dark where the reader's system is, and told to who does not see it. Graphviz gives everything a title of its own, which readers would be shown."""
    svg = re.sub(r"<title>.*?</title>\n?|<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    told = f"<title>{markup(title)}</title>\n<desc>{markup(description)}</desc>\n{dark_style()}\n"
    return svg.replace("<svg ", '<svg role="img" ', 1).replace("<g ", told + "<g ", 1)


def _graphviz(text: str, format: str) -> bytes:
    try:
        if shutil.which("dot"):
            piped: bytes = import_module("graphviz").Source(text).pipe(format=format)
            return piped
        drawn: bytes = import_module("pygraphviz").AGraph(string=text).draw(format=format, prog="dot")
        return drawn
    except ImportError as error:
        raise UsageError(f"a picture needs more than this is installed with: pip install 'danube-dispatcher[diagrams]' ({error})") from error
