"""A student of the shipped mini judge: half its size, and graded by it alone.

    python experiments/run.py --config=configs/mini/student.py

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
        hidden_size=96, intermediate_size=192, num_layers=3, head_dim=24
    )
    shape = dict(rows=8, row_tokens=256, row_targets=128)
    stage = dict(steps=800, shape=shape, rows=30_000)
    config.stages = (stage | dict(answers=True),) * 5 + (
        stage | dict(answers=False),
    ) * 3
    return config
