"""A page in the browser that shows dispatchers at work: `LivePage`.

page.py      the page, and what it watches; assets/ is what the browser gets
feed.py      what is told of one dispatcher; words.py puts its steps into words
server.py    a small server: this machine only, reading only, everything bounded
"""

from .page import LivePage

__all__ = ["LivePage"]
