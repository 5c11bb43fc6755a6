"""The paper's Table 5 in small: which figure of a dataset foretells what it teaches?

    python experiments/run.py --config=configs/mini/correlate.py

Six mini tasks, three of them held out; some 35 datasets each, by hand, from single
sources, by the cold-start policy and by adversaries, fine-tuned on with two seeds. The
list of datasets is `experiments/correlate.py:by_hand` and the policy's recipes. What is
tuned here was tuned on the three training tasks alone.

Hardware: two CPU cores; resumable at any moment.
"""

import ml_collections as mlc

from configs import quickstart


def get_config() -> mlc.ConfigDict:
    """Returns the quickstart's models and fine-tunes with the comparison's settings."""
    config = quickstart.get_config()
    config.experiment = "correlate"
    config.verifier.update(
        rows_per_dataset=100,  # paper: 100
        correctness="mini",
        held_out_every=1,  # the student is compared with its teacher
    )
    config.base.max_prompt_tokens = 128  # rows, as the baselines read them
    config.serving.priorities.rater = 3
    config.correlate = dict(
        tasks=(
            *("gcd", "rotate_matrix", "mini_sudoku"),  # to train on
            *("number_sorting", "chain_sum", "simple_equations"),  # held out
        ),
        # Or "benchmark", the paper's, which rows that leaked from it raise.
        questions="unseen",
        seeds=2,
        samples=(40, 120, 360),  # rows of the expert's data
        policy_recipes=6,  # of those that run; of evaluation.recipes sampled
        fit="in_threads",  # or "one_by_one", "in_one_program" (for accelerators)
        width=2,  # fine-tunes at a time
    )
    config.baselines = dict(  # all ours; the paper names the methods
        max_tokens=128,  # of a row
        batch_tokens=4096,  # embedded at a time
        rater_prompt_tokens=640,  # of the judge, who rates for DEITA
        min_distance=0.1,  # DEITA's own
        max_rows=100,  # of which Vendi takes the diversity
    )
    config.reward_model = dict(
        checkpoint="",  # a published one; or none: fitted to rows with planted faults
        rows=2000,
        penalty=10.0,
    )
    return config
