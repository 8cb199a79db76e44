"""The ReFrame suite: what is run (checks/), where (settings/), and what it is measured against
(references/).

Nothing in here imports TensorFlow or the workloads: it runs on a login node and starts them as
commands.
"""

import sys
from pathlib import Path

# ReFrame loads checks by their path: a clone that is not installed finds `bigearth` here
_ROOT = str(Path(__file__).resolve().parents[1])
if _ROOT not in sys.path:
    sys.path.append(_ROOT)
