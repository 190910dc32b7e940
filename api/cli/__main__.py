"""`python -m api.cli`: the same as the console script."""

from __future__ import annotations

import sys

from api.cli import main

sys.exit(main())
