#include "convert/surface_device.h"
#include "convert/volumetric_attr.h"

namespace ovoxel {
namespace {

// Adds a range of triangles to the voxels, one thread a voxel: those whose crossings made the voxel and those that
// overlap it, each once, ascending.
struct AddBody {
    GridSpec g;
    AttrInput in;
    const uint64_t* cells;  // by slot
    DeviceCrossings crossings;
    SlotSpans crossed;
    SlotLists overlaps;
    int64_t firstTriangle;
    const SlotLevels* levels;  // from firstTriangle on
    AttrVoxel* voxels;
    __device__ void operator()(int64_t slot) const {
        int64_t i = crossed.begin[slot], j = overlaps.items ? overlaps.spans.begin[slot] : 0;
        const int64_t endI = crossed.end[slot], endJ = overlaps.items ? overlaps.spans.end[slot] : 0;
        if (i == endI && j == endJ) return;
        int32_t cell[3];
        cellOfKey(g, cells[slot], cell);
        AttrVoxel voxel = voxels[slot];
        const MeshView mesh = in.mesh();
        int64_t last = -1;
        while (i < endI || j < endJ) {
            const int64_t a = i < endI ? crossings.list[crossings.events[i] >> 2].triangle : INT64_MAX;
            const int64_t b = j < endJ ? overlaps.items[j] : INT64_MAX;
            const int64_t f = a < b ? a : b;
            i += a == f;
            j += b == f;
            if (f == last) continue;
            last = f;
            const TriangleFrame frame = triangleFrame(mesh.triangle(f));
            TriangleCutter cutter(g, frame);
            voxel.add(g, in, f, frame, levels[f - firstTriangle], cutter, cell);
        }
        voxels[slot] = voxel;
    }
};

// Polygons lie in local memory, so fewer threads at once are faster as long as they fit the first cache and nothing is
// spilled: on an H200 three blocks take 17.6 ms at 1024^3, four 22.0, six 27.6, eight 31.6.
__global__ void __launch_bounds__(128, 3) addKernel(int64_t n, AddBody body) {
    const int64_t i = int64_t{128} * blockIdx.x + threadIdx.x;
    if (i < n) body(i);
}

struct FinishBody {
    GridSpec g;
    const uint64_t* cells;
    const uint32_t* rows;
    const AttrVoxel* voxels;
    ByteEncoder encode;
    DeviceVolumetricAttr out;
    __device__ void operator()(int64_t slot) const {
        uint8_t values[kAttrChannels];
        voxels[slot].finish(encode, values);
        const int64_t row = rows[slot];
        out.values.store(row, values);
        cellOfKey(g, cells[slot], out.coords + 3 * row);
    }
};

}  // namespace

DeviceVolumetricAttr texturedTrianglesToAttrOnDevice(Workspace& workspace, const GridSpec& g, AttrInput in,
                                                     const std::vector<Material>& materials,
                                                     const std::vector<TextureView>& textures,
                                                     const ByteEncoder& encode, int64_t chunkWork) {
    in.materials = upload(workspace, materials.data(), static_cast<int64_t>(materials.size()));
    in.textures = upload(workspace, textures.data(), static_cast<int64_t>(textures.size()));
    const MeshView mesh = in.mesh();
    const std::vector<Range> ranges = cutTriangles(workspace, g, mesh, chunkWork);
    DeviceVoxels voxels = findVoxels(workspace, g, mesh, ranges);
    const int64_t n = voxels.count;
    DeviceVolumetricAttr out;
    out.count = n;
    out.coords = workspace.allocate<int32_t>(3 * n);
    for (int i = 0; i < 6; ++i) out.values.array[i] = workspace.allocate<uint8_t>(n * kAttrWidth[i]);
    if (n == 0) return out;
    AttrVoxel* state = workspace.allocate<AttrVoxel>(n);
    fillZero(workspace, state, n);
    const double voxel = AttrVoxel::largestSide(g);
    for (const Range& range : ranges) {
        const int64_t first = range.begin, count = range.end - range.begin;
        SlotLevels* levels = workspace.allocate<SlotLevels>(count);
        launchFor(
            workspace, count,
            [=] __device__(int64_t i) { levels[i] = slotLevels(in, first + i, voxel, g.published); }, "mip levels");
        DeviceCrossings crossings = ranges.size() == 1 ? voxels.crossings : findCrossings(workspace, g, mesh, range);
        SlotSpans crossed = spansOfCells(workspace, g, voxels, crossings.cells, 4 * crossings.count);
        SlotLists overlaps{};
        if (!g.published) overlaps = findOverlaps(workspace, g, mesh, range, voxels);
        const AddBody body{g, in, voxels.cells, crossings, crossed, overlaps, first, levels, state};
        const unsigned blocks = static_cast<unsigned>((n + 127) / 128);
        addKernel<<<blocks, 128, 0, workspace.stream()>>>(n, body);
        checkLaunch("attributes");
        workspace.release(levels);
        release(workspace, crossings);
        release(workspace, crossed);
        if (overlaps.items) release(workspace, overlaps);
    }
    launchFor(workspace, n, FinishBody{g, voxels.cells, voxels.rows, state, encode, out}, "attribute bytes");
    workspace.release(state);
    release(workspace, voxels);
    return out;
}

}  // namespace ovoxel
