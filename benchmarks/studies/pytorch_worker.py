"""The other side of benchmarks.studies.against_pytorch: trains torchvision's ResNet-50.

    python benchmarks/studies/pytorch_worker.py BATCH WINDOW PRECISION THREADS

It runs in an environment of its own, with torch and torchvision only. It reads a number of steps
per line, takes them, and answers with their seconds; between two lines it waits without computing.
"""

import sys
import time

import torch
import torchvision

BANDS, CLASSES = 12, 43


def network() -> torch.nn.Module:
    """ResNet-50 for 12 bands and 43 classes, its strides as He et al. (2016) have them: in a
    block's first 1x1 convolution, not in the 3x3."""
    model = torchvision.models.resnet50(weights=None, num_classes=CLASSES)
    model.conv1 = torch.nn.Conv2d(BANDS, 64, 7, stride=2, padding=3, bias=False)
    for stage in (model.layer2, model.layer3, model.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    return model.to(memory_format=torch.channels_last).train()


def training_step(batch: int, window: int, precision: str):
    """A function that takes one step on a batch that stays in memory."""
    model = network()
    optim = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    images = torch.randn(batch, BANDS, window, window)
    images = images.to(memory_format=torch.channels_last)
    labels = (torch.rand(batch, CLASSES) < 0.1).float()
    entropy = torch.nn.BCEWithLogitsLoss()

    def step():
        optim.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(images)
        loss = entropy(logits.float(), labels)
        loss.backward()
        optim.step()
        return loss.item()

    return step


def main() -> None:
    batch, window, precision, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    step = training_step(int(batch), int(window), precision)
    print(f"torch {torch.__version__}", flush=True)
    for line in sys.stdin:
        begun = time.perf_counter()
        for _ in range(int(line)):
            step()
        print(time.perf_counter() - begun, flush=True)


if __name__ == "__main__":
    main()
