"""Workload `synthesise`: synthetic patches straight into one HDF5 file, drawn and written by all
ranks at once.

    mpirun -np 4 python -m benchmarks.synthesise --patches 2000 --seed 1 --out patches.h5

For machines without the real data. The patches are those of the archive that
`bigearth.synthetic.synthesis` writes from the same number and seed, but no archive is written: no
thirteen files per patch. The file's bytes do not depend on the number of ranks, and a run that was
killed goes on where it stopped.
"""

import os

# Debian's h5py takes its MPI build only on request, or under mpirun
os.environ.setdefault("H5PY_ALWAYS_USE_MPI", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a rank is a core

import dataclasses
from typing import Literal, Optional

from bigearth import agreement, cli, nomenclature
from bigearth.cli import REQUIRED, option
from bigearth.errors import together
from bigearth.prepare import extract
from bigearth.prepare.job import COMM, Job, Output, carry_out
from bigearth.synthetic.direct import SyntheticSource


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the program."""

    out: str = option(REQUIRED, "HDF5 file to write", repeats=True)
    patches: int = option(2000, "number of patches", least=1, most=nomenclature.ARCHIVE_PATCHES)
    seed: int = option(1, "of every random number", least=0)
    record: Optional[str] = option(
        None,
        "result record to write; else beside the file, as <name>.result.json",
        repeats=True,
    )
    io: Literal["auto", "mpio", "rank0"] = option(
        "auto", "write through MPI-IO, or through rank 0; auto: MPI-IO if this HDF5 has it"
    )


def run(config: Config) -> None:
    """Writes the file and its record."""
    agreement.check(COMM.size, COMM.allgather, config)
    with together(COMM.allgather):
        output = Output.check(config.out, config.record, inputs=[])

    def prepare() -> Job:
        source = SyntheticSource(config.patches, config.seed)
        return Job(
            source=source,
            description="synthetic patches",
            interpolation="bilinear",
            names=source.names,
            splits=source.splits,
            partial=extract.partial_path(output.target, ("synthetic", config.patches, config.seed)),
            classes=len(nomenclature.LABELS),
            counts={},
        )

    carry_out(
        prepare=prepare,
        output=output,
        config=config,
        workload="synthesise",
        method="blocks",
        io=config.io,
    )


if __name__ == "__main__":
    cli.main(
        Config,
        run,
        cli.Program(
            module="benchmarks.synthesise",
            description="Synthetic patches -> one HDF5 file, drawn and written by all MPI ranks.",
            example="--patches 2000 --seed 1 --out patches.h5",
        ),
    )
