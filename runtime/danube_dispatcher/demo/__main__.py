"""`python -m danube_dispatcher.demo`: as `danube-dispatcher demo`."""

from __future__ import annotations

import sys

from ..__main__ import main

sys.exit(main(["demo", *sys.argv[1:]]))
