"""python -m kasoku: the same as the command kasoku."""

import sys

from kasoku.command.main import main

if __name__ == "__main__":
    sys.exit(main())
