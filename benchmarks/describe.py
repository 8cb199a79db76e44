"""What an HDF5 file of patches holds, counted from the file itself.

    python -m benchmarks.describe --data FILE.h5 --out FILE.json

The numbers are independent of the programs that write and train on the file, so their claims can be
checked against them.
"""

import json
from dataclasses import dataclass

from bigearth import cli, files, store


@dataclass
class DescribeConfig:
    """Options of the program."""

    data: str = cli.option(cli.REQUIRED, "the HDF5 file of patches")
    out: str = cli.option(cli.REQUIRED, "the JSON file to write")


def describe(path) -> dict:
    """Digest, interpolation, and by split the number of patches and of patches with each label, in
    the official order.

    Raises:
        InputError: the file is not a complete file of patches.
    """
    patches = store.Store(path)
    splits = {split: patches.indices(split) for split in store.SPLITS}
    return {
        "digest": patches.digest,
        "interpolation": patches.interpolation,
        "patches": patches.size,
        "splits": {
            s: {"patches": len(i), "support": patches.classes[i].sum(axis=0, dtype=int).tolist()}
            for s, i in splits.items()
        },
    }


def run(config: DescribeConfig) -> None:
    content = json.dumps(describe(config.data), indent=1) + "\n"
    files.write_text(config.out, "write the description", content, inputs=[config.data])


if __name__ == "__main__":
    cli.main(
        DescribeConfig,
        run,
        cli.Program(
            module="benchmarks.describe",
            description=__doc__.splitlines()[0],
            example="--data patches.h5 --out contents.json",
        ),
    )
