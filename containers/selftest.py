"""The image's own test, two ranks: imports, drivers, an all-reduce, one training step, parallel
HDF5. Needs nothing but the image."""

import os
import tempfile

os.environ["H5PY_ALWAYS_USE_MPI"] = "1"

import h5py
import horovod
import horovod.tensorflow as hvd
import numpy as np
import sklearn
import tensorflow as tf
from mpi4py import MPI
from osgeo import gdal

hvd.init()
rank, size = hvd.rank(), hvd.size()
assert size == 2 and MPI.COMM_WORLD.size == 2, (
    f"{size} ranks in Horovod, {MPI.COMM_WORLD.size} in MPI; 2 expected"
)
devices = tf.config.list_physical_devices("GPU")

missing = [name for name in ("GTiff", "JP2OpenJPEG") if gdal.GetDriverByName(name) is None]
assert not missing, f"GDAL has no driver {missing}"
assert h5py.get_config().mpi, "h5py has no MPI-IO"
assert hvd.mpi_built() and hvd.gloo_built(), "Horovod was built without MPI or Gloo"
if tf.test.is_built_with_cuda():
    assert hvd.nccl_built(), "TensorFlow has CUDA and Horovod no NCCL"

total = hvd.allreduce(tf.range(1 << 16) + rank, op=hvd.Sum).numpy()
assert (total == 2 * np.arange(1 << 16) + 1).all(), "the all-reduce is wrong"

tf.random.set_seed(rank)
kernel = tf.Variable(tf.random.normal([3, 3, 12, 4]))
with tf.GradientTape() as tape:
    loss = tf.reduce_mean(tf.nn.conv2d(tf.random.normal([2, 16, 16, 12]), kernel, 1, "SAME") ** 2)
tape = hvd.DistributedGradientTape(tape)
hvd.broadcast_variables([kernel], root_rank=0)
kernel.assign_sub(0.1 * tape.gradient(loss, [kernel])[0])
both = hvd.allgather(kernel[None])
assert np.isfinite(both).all() and np.array_equal(both[0], both[1]), (
    "the ranks' weights differ after one step"
)

folder = MPI.COMM_WORLD.bcast(tempfile.mkdtemp() if rank == 0 else None)
with h5py.File(f"{folder}/x.h5", "w", driver="mpio", comm=MPI.COMM_WORLD) as file:
    data = file.create_dataset("x", (2, 8), "u2")
    data[rank] = rank + 1
with h5py.File(f"{folder}/x.h5", "r", driver="mpio", comm=MPI.COMM_WORLD) as file:
    assert (file["x"][:] == [[1] * 8, [2] * 8]).all(), "what both ranks wrote is not what is read"

if rank == 0:
    print(
        f"image test: right on {size} ranks; TensorFlow {tf.__version__}, Horovod "
        f"{horovod.__version__}, numpy {np.__version__}, "
        f"h5py {h5py.__version__} (HDF5 {h5py.version.hdf5_version}), GDAL {gdal.__version__}, "
        f"scikit-learn {sklearn.__version__}, "
        f"{MPI.Get_library_version().split(',')[0]}; GPU: {len(devices) or 'no device'}"
    )
