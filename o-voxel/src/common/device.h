// What host and device code share about a CUDA launch; needs no CUDA header, so bindings compile without one.
#pragma once

#include <cstddef>
#include <cstdint>

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace ovoxel {

// The stream a call runs on and the memory it may use. Memory comes from the caller's tensor library (see
// common/tensor_workspace.h), so it is counted, cached and stream-ordered like every other tensor.
class Workspace {
public:
    virtual ~Workspace() = default;
    virtual void* allocate(size_t bytes) = 0;     // 256-byte aligned, not initialised; throws when there is no memory
    virtual void release(void* memory) = 0;       // ends a temporary early; the rest ends with the workspace
    virtual CUstream_st* stream() const = 0;

    template <class T>
    T* allocate(int64_t count) {
        return static_cast<T*>(allocate(sizeof(T) * static_cast<size_t>(count > 0 ? count : 1)));
    }
};

}  // namespace ovoxel
