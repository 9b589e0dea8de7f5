#include "convert/volumetric_attr.h"

#include "convert/bricks.h"

namespace ovoxel {
namespace {

struct AttrResult {  // a finished voxel
    int32_t cell[3];
    uint8_t values[kAttrChannels];
    Creation creation;
};

struct Touch {  // item number `item` of a brick crosses an edge of voxel `row`
    int32_t item, row;
};

struct Scratch {
    explicit Scratch(const BrickLayout& layout) : index(layout) {}
    BrickIndex index;
    std::vector<AttrVoxel> voxels;
    std::vector<int32_t> lastItem;  // of each voxel, so that a triangle counts once
    std::vector<Touch> touches;
};

void createVoxels(const GridSpec& g, const MeshView& mesh, int64_t f, int32_t item, const CellBox& box,
                  Scratch& scratch, std::vector<AttrResult>& out) {
    forEachCrossing(g, mesh.triangle(f), box, [&](int axis, int64_t row, int64_t column, int64_t k, float) {
        for (int corner = 0; corner < 4; ++corner) {
            int32_t c[3];
            cellAround(axis, row, column, k, corner, c);
            if (!box.contains(c[0], c[1], c[2])) continue;
            const int32_t cell = scratch.index.cellOf(c[0], c[1], c[2]);
            int32_t i = scratch.index.find(cell);
            if (i < 0) {
                i = static_cast<int32_t>(out.size());
                scratch.index.set(cell, i);
                scratch.voxels.emplace_back();
                scratch.lastItem.push_back(-1);
                out.push_back({{c[0], c[1], c[2]}, {}, creationAt(f, axis, row, column, corner)});
            }
            scratch.touches.push_back({item, i});
        }
    });
}

// Adds triangle f to the voxels whose edges it crosses and, unless published, to all others it overlaps. `touch` is
// moved to the next triangle's.
void addTriangle(const GridSpec& g, const AttrInput& in, int64_t f, int32_t item, const CellBox& box, size_t& touch,
                 Scratch& scratch, const std::vector<AttrResult>& out) {
    const Triangle tri = in.mesh().triangle(f);
    const TriangleFrame frame = triangleFrame(tri);
    const SlotLevels levels = slotLevels(in, f, AttrVoxel::largestSide(g), g.published);
    TriangleCutter cutter(g, frame);
    auto add = [&](int32_t row) {
        if (scratch.lastItem[row] == item) return;
        scratch.lastItem[row] = item;
        scratch.voxels[row].add(g, in, f, frame, levels, cutter, out[row].cell);
    };
    for (; touch < scratch.touches.size() && scratch.touches[touch].item == item; ++touch)
        add(scratch.touches[touch].row);
    if (g.published) return;
    const OverlapTest<double> test(g, tri);
    test.forEach(box, [&](int64_t x, int64_t y, int64_t z) {
        const int32_t row = scratch.index.find(scratch.index.cellOf(
            static_cast<int32_t>(x), static_cast<int32_t>(y), static_cast<int32_t>(z)));
        if (row >= 0) add(row);
    });
}

}  // namespace

VolumetricAttr texturedTrianglesToAttr(const GridSpec& g, const AttrInput& in, const ByteEncoder& encode) {
    const MeshView mesh = in.mesh();
    const BrickLayout layout(g);
    const BrickLists triangles = trianglesByBrick(g, mesh, layout);
    std::vector<std::vector<AttrResult>> bricks(triangles.keys.size());
    forEachBrick(
        triangles.size(), [&] { return Scratch(layout); },
        [&](Scratch& scratch, int64_t b) {
            std::vector<AttrResult>& out = bricks[b];
            const CellBox box = layout.box(triangles.keys[b], g);
            const uint32_t* items = triangles.items.data() + triangles.offsets[b];
            const int64_t count = triangles.offsets[b + 1] - triangles.offsets[b];
            if (count > std::numeric_limits<int32_t>::max()) throw std::length_error("2^31 triangles in one place");
            scratch.index.place(box);
            scratch.voxels.clear();
            scratch.lastItem.clear();
            scratch.touches.clear();
            for (int32_t i = 0; i < count; ++i) createVoxels(g, mesh, items[i], i, box, scratch, out);
            if (out.empty()) return;
            size_t touch = 0;
            for (int32_t i = 0; i < count; ++i) addTriangle(g, in, items[i], i, box, touch, scratch, out);
            for (size_t i = 0; i < out.size(); ++i) {
                scratch.voxels[i].finish(encode, out[i].values);
                scratch.index.clear(scratch.index.cellOf(out[i].cell[0], out[i].cell[1], out[i].cell[2]));
            }
        });

    VolumetricAttr attr;
    attr.count = countVoxels(bricks);
    const size_t n = static_cast<size_t>(attr.count);
    attr.coords.reset(new int32_t[3 * n]);
    AttrArrays arrays;
    for (int i = 0; i < 6; ++i) {
        attr.values[i].reset(new uint8_t[n * kAttrWidth[i]]);
        arrays.array[i] = attr.values[i].get();
    }
    storeInOrder(mesh.numFaces, bricks, [&](int64_t row, const AttrResult& v) {
        std::copy_n(v.cell, 3, &attr.coords[3 * row]);
        arrays.store(row, v.values);
    });
    return attr;
}

}  // namespace ovoxel
