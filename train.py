#!/usr/bin/env python
"""Train a network: python train.py optimizer=nesterov scheduler=step warmup=linear

python train.py --help lists what can be chosen. Exit codes: 0 done, 2 wrong configuration, 3 diverged,
130 and 143 interrupted with a checkpoint saved, 1 anything else.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence

STARTED = time.time()

from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

# Threads that spin while they wait make a small net 8 times slower where another process wants the core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its exceptions to us: see answer()

import hydra  # noqa: E402
from hydra.core.hydra_config import HydraConfig  # noqa: E402
from omegaconf import DictConfig, OmegaConf  # noqa: E402

from kasoku.config import checks, diagnose, help, resolvers, resuming, trust  # noqa: E402
from kasoku.faults import ConfigError  # noqa: E402
from kasoku.training import directory as directories  # noqa: E402

CONF = Path(__file__).parent / "conf"
RANK_OF = "KASOKU_RANK_OF"  # the run's directory, for the further ranks that Lightning starts with this same command


def main() -> int:
    resolvers.register()
    if int(os.environ.get("LOCAL_RANK", 0)) > 0 and RANK_OF in os.environ:
        return further_rank(Path(os.environ[RANK_OF]))
    codes: list[int] = []

    @hydra.main(version_base="1.3", config_path="conf", config_name="train")
    def task(cfg: DictConfig) -> None:
        codes.append(answer(lambda: run(cfg)))

    def compose_and_run() -> int:
        sys.argv[1:] = resuming.with_stored_overrides(sys.argv[1:])
        if "--help" in sys.argv or "-h" in sys.argv:
            print(help.text(sys.argv[1:], CONF))
            return 0
        if faults := diagnose.examine(sys.argv[1:], CONF):
            raise ConfigError(*faults)  # Hydra itself would run what a foreign file names
        task()
        return 0 if 0 in codes else max(codes, default=0)

    return answer(compose_and_run)


def run(cfg: DictConfig) -> int:
    """One run, in the directory that Hydra made for it."""
    directory = Path(HydraConfig.get().runtime.output_dir)
    overrides = [override for override in HydraConfig.get().overrides.task if not override.startswith("resume=")]
    try:
        faults = checks.check(cfg) + checks.of_a_sweep(overrides)
        if faults := faults + trust.faults_of_targets(cfg, trust.trusted(CONF)):
            raise ConfigError(*faults)
        os.environ[RANK_OF] = str(directory)
        return dispatch(cfg, directory, overrides)
    except ConfigError:
        directories.give_back(directory)
        raise


def dispatch(cfg: DictConfig, directory: Path, overrides: list[str], callbacks: Sequence[object] = ()) -> int:
    from kasoku.config import modes  # torch is imported here, not earlier

    return modes.MODES[cfg.mode](cfg, modes.Place(directory, overrides, trust.trusted(CONF), STARTED, callbacks))


def further_rank(directory: Path) -> int:
    """A rank above 0: the same run, from the configuration that rank 0 wrote."""
    cfg: Any = OmegaConf.load(directory / "config.yaml")

    def follow() -> int:
        from kasoku.search import reporter  # in a trial all ranks hear together that it is pruned

        callbacks = [reporter.Reporter()] if reporter.VARIABLE in os.environ else []
        return dispatch(cfg, directory, directories.overrides_of(directory), callbacks)

    return answer(follow)


def answer(work: Callable[[], int]) -> int:
    """The exit code of `work`. A wrong configuration is said in a few lines, anything else with its traceback."""
    try:
        return work()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough: train.py --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except Exception as error:
        if explained := diagnose.explain(error, sys.argv[1:], CONF):
            print(explained, file=sys.stderr)
            return 2
        logging.getLogger("kasoku").exception("failed")  # into train.log too
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
