// Textured triangles -> material attributes of the voxels of their surface.
#pragma once

#include <memory>
#include <vector>

#include "common/device.h"
#include "convert/attr_body.h"

namespace ovoxel {

struct VolumetricAttr {
    int64_t count;
    std::unique_ptr<int32_t[]> coords;     // [N, 3], order of first creation, as the dual grid of the same triangles
    std::unique_ptr<uint8_t[]> values[6];  // as AttrArrays
};

VolumetricAttr texturedTrianglesToAttr(const GridSpec& g, const AttrInput& in, const ByteEncoder& encode);

struct DeviceVolumetricAttr {  // the same in memory of the workspace
    int64_t count;
    int32_t* coords;
    AttrArrays values;
};

// The same on a GPU, bit for bit; what the input, the textures and the encoder point to is in device memory, and
// materials and textures of the input are not set. For `chunkWork` see meshToDualGridOnDevice.
DeviceVolumetricAttr texturedTrianglesToAttrOnDevice(Workspace& workspace, const GridSpec& g, AttrInput in,
                                                     const std::vector<Material>& materials,
                                                     const std::vector<TextureView>& textures,
                                                     const ByteEncoder& encode, int64_t chunkWork);

}  // namespace ovoxel
