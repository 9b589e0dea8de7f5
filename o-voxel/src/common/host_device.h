// Marks functions that run on the host and, when compiled by a CUDA or HIP compiler, on the device.
#pragma once

#if defined(__CUDACC__) || defined(__HIPCC__)
#define OVOXEL_HD __host__ __device__
// A large function that device code calls instead of copying it to every call: compile time.
#define OVOXEL_HD_CALL __host__ __device__ __noinline__
#else
#define OVOXEL_HD
#define OVOXEL_HD_CALL
#endif
