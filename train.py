#!/usr/bin/env python
"""Train a network: python train.py optimizer=nesterov scheduler=step warmup=linear; see kasoku.command.main."""

import sys

from kasoku.command.main import main

# Hydra's tab completion runs a script only where it finds the word @hydra.main in it.

if __name__ == "__main__":
    sys.exit(main())
