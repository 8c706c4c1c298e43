"""`python -m curvetune.offline`: the command for machines that have nothing but PyTorch."""

import sys

from curvetune.offline.command import main

sys.exit(main())
