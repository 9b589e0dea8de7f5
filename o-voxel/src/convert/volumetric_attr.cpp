#include "convert/volumetric_attr.h"

#include <algorithm>

#include "convert/surface_voxels.h"

namespace ovoxel {
namespace {

// Rows of the voxels that each triangle contributes to, in triangle order: those around its crossings and, unless
// published, also all others it overlaps.
std::vector<Touch> findContributions(const GridSpec& g, const MeshView& mesh, const std::vector<Crossing>& crossings,
                                     const std::vector<int32_t>& crossingRows, const VoxelIndex& index) {
    std::vector<int64_t> firstCrossing(static_cast<size_t>(mesh.numFaces) + 1, 0);
    for (const Crossing& c : crossings) ++firstCrossing[c.triangle + 1];
    for (int64_t f = 0; f < mesh.numFaces; ++f) firstCrossing[f + 1] += firstCrossing[f];
    return gatherChunks<Touch>(mesh.numFaces, 4096, [&](int64_t begin, int64_t end, std::vector<Touch>& out) {
        std::vector<int32_t> rows;
        for (int64_t f = begin; f < end; ++f) {
            rows.assign(crossingRows.begin() + 4 * firstCrossing[f], crossingRows.begin() + 4 * firstCrossing[f + 1]);
            if (!g.published) {
                const OverlapTest<double> test(g, mesh.triangle(f));
                test.forEach([&](int64_t x, int64_t y, int64_t z) {
                    const int32_t row = index.find(x, y, z);
                    if (row >= 0) rows.push_back(row);
                });
            }
            std::sort(rows.begin(), rows.end());
            rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
            for (const int32_t row : rows) out.push_back({row, static_cast<int32_t>(f)});
        }
    });
}

void store(float* out, const double sums[kAttrChannels], double colorWeight, double weight, bool published) {
    for (int c = 0; c < kAttrChannels; ++c) out[c] = static_cast<float>(sums[c] / (c < 3 ? colorWeight : weight));
    if (published) return;
    const Vec3 n = normalized({{sums[9], sums[10], sums[11]}});
    for (int a = 0; a < 3; ++a) out[9 + a] = static_cast<float>(n[a]);
}

}  // namespace

VolumetricAttr texturedTrianglesToAttr(const GridSpec& g, const AttrInput& in) {
    const MeshView mesh{in.triangles, nullptr, 3 * in.numTriangles, in.numTriangles};
    const std::vector<Crossing> crossings = findCrossings(g, mesh);
    VoxelIndex index(g);
    const std::vector<int32_t> crossingRows = insertCrossings(crossings, index);
    const int64_t n = index.size();
    const RowLists byTriangle = groupTouches(n, findContributions(g, mesh, crossings, crossingRows, index));

    VolumetricAttr out;
    out.coords = index.coords();
    out.values.resize(static_cast<size_t>(kAttrChannels * n));
    const double footprint = std::max({g.size[0], g.size[1], g.size[2]});
    const double touchWeight = 1e-9 * footprint * footprint;  // of a triangle that meets the voxel without area

    parallelFor(n, 1024, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            Vec3 corner, center;
            for (int a = 0; a < 3; ++a) {
                corner[a] = out.coords[3 * row + a] * g.size[a];
                center[a] = (out.coords[3 * row + a] + 0.5) * g.size[a];
            }
            double sums[kAttrChannels] = {}, weightSum = 0, colorWeightSum = 0;
            for (int64_t i = byTriangle.offsets[row]; i < byTriangle.offsets[row + 1]; ++i) {
                const int64_t f = byTriangle.items[i];
                const ShadedTriangle s{mesh.triangle(f), in.normals + 9 * f, in.uvs + 6 * f * in.numChannels,
                                       in.colors ? in.colors + 12 * f : nullptr, in.numChannels,
                                       in.materials + in.materialIds[f]};
                double b[3], weight;
                if (g.published) {
                    const Vec3 normal = normalized(cross(s.tri.p[1] - s.tri.p[0], s.tri.p[2] - s.tri.p[0]));
                    weight = 1 - dot(center - s.tri.p[0], normal);
                    planeBarycentrics(s.tri, center, b);
                } else {
                    Vec3 point = center;
                    weight = clippedArea(s.tri, corner, g.size, point);
                    if (!(weight > touchWeight)) weight = touchWeight;
                    closestBarycentrics(s.tri, point, b);
                }
                const AttrSample a = shade(s, in.textures, b, footprint, in.mipLevelOffset, g.published);
                // Colour counts by what is visible of it, so that transparent texels do not tint opaque ones.
                const double colorWeight = g.published ? weight : weight * (a.alpha + 1e-4);
                for (int c = 0; c < 3; ++c) sums[c] += colorWeight * a.baseColor[c];
                sums[3] += weight * a.metallic;
                sums[4] += weight * a.roughness;
                for (int c = 0; c < 3; ++c) sums[5 + c] += weight * a.emissive[c];
                sums[8] += weight * a.alpha;
                for (int c = 0; c < 3; ++c) sums[9 + c] += weight * a.normal[c];
                weightSum += weight;
                colorWeightSum += colorWeight;
            }
            store(&out.values[kAttrChannels * row], sums, colorWeightSum, weightSum, g.published);
        }
    });
    return out;
}

}  // namespace ovoxel
