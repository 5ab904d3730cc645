"""`python -m muxproxy.sim`."""

import sys

from muxproxy.sim import main

sys.exit(main(sys.argv[1:]))
