// Marks functions that run on the host and, when compiled by a CUDA or HIP compiler, on the device.
#pragma once

#if defined(__CUDACC__) || defined(__HIPCC__)
#define OVOXEL_HD __host__ __device__
#else
#define OVOXEL_HD
#endif
