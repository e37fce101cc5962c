"""The training of `bench.sweeps` as a Hydra application for hydra-optuna-sweeper: returns what a trial is worth."""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kasoku.config import resolvers

CONF = str(Path(__file__).parents[1] / "conf")


def main() -> None:
    """Run the command line."""
    resolvers.register()

    @hydra.main(version_base="1.3", config_path=CONF, config_name="train")
    def task(cfg: DictConfig) -> float:
        from kasoku.command import modes
        from kasoku.config import trust
        from kasoku.results import read

        resolvers.register()
        directory = Path(HydraConfig.get().runtime.output_dir)
        modes.run(cfg, modes.Origin(directory, [], trust.trusted(CONF), 0.0))
        best = read(directory).best
        assert best is not None
        return best.value

    task()


if __name__ == "__main__":
    main()
