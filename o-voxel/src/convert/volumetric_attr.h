// Textured triangles -> material attributes of the voxels of their surface.
#pragma once

#include <vector>

#include "convert/attr_body.h"

namespace ovoxel {

struct AttrInput {
    const float* triangles;      // [T, 3, 3] box-relative
    const float* normals;        // [T, 3, 3]
    const float* uvs;            // [T, 3, numChannels, 2], v up
    int32_t numChannels;
    const float* colors;         // [T, 3, 4] linear RGBA, or null
    const int32_t* materialIds;  // [T]
    int64_t numTriangles;
    const Material* materials;
    const TextureView* textures;
    double mipLevelOffset;
};

constexpr int kAttrChannels = 12;  // base colour 3, metallic, roughness, emissive 3, alpha, normal 3

struct VolumetricAttr {
    std::vector<int32_t> coords;  // [N, 3], order of first creation, as the dual grid of the same triangles
    std::vector<float> values;    // [N, kAttrChannels]
};

VolumetricAttr texturedTrianglesToAttr(const GridSpec& g, const AttrInput& in);

}  // namespace ovoxel
