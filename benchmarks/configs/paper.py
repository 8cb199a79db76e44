"""The paper's training: ResNet-50 on 120 x 120 pixels, 64 patches a device, 100 epochs, rate falling after 30, 60 and 80.

Command:  srun python -m benchmarks.train --data FILE --config benchmarks/configs/paper.py --output DIR
Hardware: the paper's, 1 to 24 nodes of 4 V100; nobody has run this there.
"""

from benchmarks.configs import TrainConfig

config = TrainConfig()
