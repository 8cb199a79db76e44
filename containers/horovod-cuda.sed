# What Horovod 0.28.1 needs to be compiled with CUDA against TensorFlow 2.11 to 2.21.
# Its XLA collectives (xla_mpi_ops.cc) include headers that move with every TensorFlow; the suite compiles no collective with XLA.
23s|^#if TENSORFLOW_VERSION >= 2006000000$|#if 0|
# The CUDA stream behind a TensorFlow stream (mpi_ops.cc): 2.15 still exports the function it calls, 2.21 has only the handle.
s|^#include "tensorflow/compiler/xla/stream_executor/stream.h"$|#if TENSORFLOW_VERSION >= 2016000000\n#include "xla/stream_executor/stream.h"\nnamespace stream_executor::gpu {\nGpuStreamHandle AsGpuStreamValue(Stream* stream) {\n  return static_cast<GpuStreamHandle>(stream->platform_specific_handle().stream);\n}\n}\n#else\n&\n#endif|
