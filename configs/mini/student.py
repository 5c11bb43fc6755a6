"""A student of the shipped mini judge: a third of its size, taught by it alone.

    python experiments/run.py --config=configs/mini/student.py

Half an hour on two cores that others used too. On rows held out it gives the judge's
grade in 87 % (Cohen's kappa 0.83), its expected scores correlate with the judge's at
0.93, and it reads 1.7 times as many rows a CPU-second. Half of the rows on which they
differ are rows of which the judge itself is less than 60 % sure (`held_out.jsonl`).

The rows are made as the judge's own were, but their labels are not shown. To learn from
the rows that a run has graded already, name its files:
`--config.rollouts='runs/quickstart/grpo/seed0/rollouts/*.jsonl'`. What comes out stands
in for the judge, `--config.judge.checkpoint=configs/mini/checkpoints/student` of
`configs/quickstart.py`.
"""

import ml_collections as mlc

from configs.mini import base


def get_config() -> mlc.ConfigDict:
    """Returns every setting of the distillation."""
    config = base.get_config()
    config.seed = 2
    config.experiment = "student"
    del config.documents, config.stage
    config.judge = dict(
        checkpoint="configs/mini/checkpoints/judge", min_mass=0.5, max_prompt_tokens=256
    )
    config.rubric = dict(name="compact", max_chars=160)
    # Files of graded rows, relative to the repository; "": the judge grades new rows.
    config.rollouts = ""
    config.held_out = dict(
        rows=4000,  # that are made
        share=0.1,  # of the questions in files
        bins=15,  # of the calibration error
    )
    config.engine = dict(page_size=64, read_tokens=256)
    config.sizes.update(
        hidden_size=64, intermediate_size=192, num_layers=3, head_dim=16
    )
    config.answers = True  # of rows that drew an E are learned beside the grades
    stage = dict(
        steps=800,
        shape=dict(rows=8, row_tokens=256, row_targets=128),
        rows=30_000,
    )
    config.stages = (stage,) * 8
    return config
