"""The learned proxy on RegMix: ranks mixtures that it has not seen, and says how sure.

    python experiments/run.py --config=configs/bench/proxy.py

Fitted on 64 of 512 runs at 1M, drawn ten times; tested on other mixtures at 1M, 60M
and 1B. Needs the folder `regmix` of real data (environment variable DATACHEF_DATA) and
a minute on two cores. `--config.fitted=8` shows how little is too little.
"""

import ml_collections as mlc


def get_config() -> mlc.ConfigDict:
    """Returns every setting of the run."""
    config = mlc.ConfigDict()
    config.seed = 0
    config.experiment = "bench_proxy"
    config.mesh = dict(data=1, model=1)
    config.folder = "regmix"  # of the real data
    config.target = "pile_cc"  # whose validation loss
    config.draws = 10
    config.fitted = 64  # runs
    config.folds = 8
    config.representations = ("shares", "roots", "logs")  # of a mixture
    config.kernels = ("rbf", "matern", "rbf_by_feature")
    config.proxy = dict(prior_std=0.3, unfamiliar_share=0.05)  # nats; share of runs
    config.interval = 0.9
    config.lacking = 0.01  # of a domain at most, or it is not lacking
    config.far = 0.5  # of it is much
    return config
