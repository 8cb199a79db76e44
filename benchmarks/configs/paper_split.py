"""The paper's recipe on a split of 60, 20 and 20 % of all patches in place of the official one.

Command:  srun python -m benchmarks.train --data FILE --config paper_split --out DIR
Hardware: the paper's, see paper.py.
Time:     not measured; of the 519,226 patches 311,536 are trained on (the official split: 269,695).
Score:    not measured.

The paper's Table 3 has 20 % of the labels in its test split, which fits 60/20/20 as well as 80/20.
Patches are drawn by their names, not by tile: neighbours are in all three splits, so scores are not
comparable with those of the official split.
"""

import dataclasses

from benchmarks.configs import paper

config = dataclasses.replace(paper.config, split="60/20/20")
