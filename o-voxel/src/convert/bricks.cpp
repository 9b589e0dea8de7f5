#include "convert/bricks.h"

namespace ovoxel {
namespace {

// Everything a triangle does lies this close to it (voxels): tie shifts, the tolerance at the box, and rounding.
constexpr double kReach = 1e-3;

// Bricks (lo <= b < hi) that the triangle's box touches; false if none.
bool brickRange(const GridSpec& g, const BrickLayout& layout, const Triangle& t, int64_t lo[3], int64_t hi[3]) {
    // The published candidates reach one cell further: truncation lets geometry below the box count as inside.
    const double reach = g.published ? 1.0 + kReach : kReach;
    for (int a = 0; a < 3; ++a) {
        const double low = std::min({t.p[0][a], t.p[1][a], t.p[2][a]}) / g.size[a] - reach;
        const double high = std::max({t.p[0][a], t.p[1][a], t.p[2][a]}) / g.size[a] + reach;
        const double count = static_cast<double>(g.count[a]);
        if (!(high >= 0) || !(low <= count)) return false;
        lo[a] = clampFloor(low, 0, g.count[a] - 1) / layout.side;
        hi[a] = clampFloor(high, 0, g.count[a] - 1) / layout.side + 1;
    }
    return true;
}

void addTriangle(const GridSpec& g, const BrickLayout& layout, const MeshView& mesh, int64_t f,
                 std::vector<KeyValue>& out, std::vector<uint64_t>& scratch) {
    const uint32_t item = static_cast<uint32_t>(f);
    const Triangle t = mesh.triangle(f);
    int64_t lo[3], hi[3];
    const bool any = brickRange(g, layout, t, lo, hi);
    if (g.published) {  // interpolation beyond the ends of short edges can leave the triangle's box
        scratch.clear();
        if (any)
            for (int64_t x = lo[0]; x < hi[0]; ++x)
                for (int64_t y = lo[1]; y < hi[1]; ++y)
                    for (int64_t z = lo[2]; z < hi[2]; ++z) scratch.push_back(layout.keyOf(x, y, z));
        forEachCrossing(g, t, wholeGrid(g), [&](int a, int64_t row, int64_t column, int64_t cell, float) {
            for (int corner = 0; corner < 4; ++corner) {
                int32_t c[3];
                cellAround(a, row, column, cell, corner, c);
                const uint64_t key = layout.keyOfCell(c[0], c[1], c[2]);
                if (scratch.empty() || scratch.back() != key) scratch.push_back(key);
            }
        });
        std::sort(scratch.begin(), scratch.end());
        scratch.erase(std::unique(scratch.begin(), scratch.end()), scratch.end());
        for (const uint64_t key : scratch) out.push_back({key, item});
        return;
    }
    if (!any) return;
    if ((hi[0] - lo[0]) * (hi[1] - lo[1]) * (hi[2] - lo[2]) <= 8) {
        for (int64_t x = lo[0]; x < hi[0]; ++x)
            for (int64_t y = lo[1]; y < hi[1]; ++y)
                for (int64_t z = lo[2]; z < hi[2]; ++z) out.push_back({layout.keyOf(x, y, z), item});
        return;
    }
    // A large triangle: only bricks it overlaps. The bricks are grown by the reach: the test is set up for a grid of
    // larger cells that overlap, the lower corners of which are those of the bricks less the reach.
    const Vec3 normal = normalized(cross(t.p[1] - t.p[0], t.p[2] - t.p[1]));
    if (dot(normal, normal) == 0) {  // no plane: keep all
        for (int64_t x = lo[0]; x < hi[0]; ++x)
            for (int64_t y = lo[1]; y < hi[1]; ++y)
                for (int64_t z = lo[2]; z < hi[2]; ++z) out.push_back({layout.keyOf(x, y, z), item});
        return;
    }
    int k = 0;
    for (int a = 1; a < 3; ++a)
        if (std::fabs(normal[a]) > std::fabs(normal[k])) k = a;
    const int i = (k + 1) % 3, j = (k + 2) % 3;
    // In each column of bricks along k: the projected triangle must reach the column, and the plane passes a slab.
    for (int64_t bi = lo[i]; bi < hi[i]; ++bi) {
        for (int64_t bj = lo[j]; bj < hi[j]; ++bj) {
            const double low[2] = {(static_cast<double>(bi * layout.side) - kReach) * g.size[i],
                                   (static_cast<double>(bj * layout.side) - kReach) * g.size[j]};
            const double high[2] = {(static_cast<double>((bi + 1) * layout.side) + kReach) * g.size[i],
                                    (static_cast<double>((bj + 1) * layout.side) + kReach) * g.size[j]};
            const double side = normal[k] < 0 ? -1.0 : 1.0;
            bool reached = true;
            for (int s = 0; s < 3 && reached; ++s) {
                const Vec3 e = t.p[(s + 1) % 3] - t.p[s];
                const double mi = -e[j] * side, mj = e[i] * side;  // inward normal of the projected edge
                const double farthest = mi * ((mi > 0 ? high[0] : low[0]) - t.p[s][i]) +
                                        mj * ((mj > 0 ? high[1] : low[1]) - t.p[s][j]);
                reached = farthest >= -1e-9 * (std::fabs(mi) * g.size[i] + std::fabs(mj) * g.size[j]);
            }
            if (!reached) continue;
            double first = HUGE_VAL, last = -HUGE_VAL;
            for (int corner = 0; corner < 4; ++corner) {
                const double x = (corner & 1 ? high[0] : low[0]) - t.p[0][i];
                const double y = (corner & 2 ? high[1] : low[1]) - t.p[0][j];
                const double z = t.p[0][k] - (normal[i] * x + normal[j] * y) / normal[k];
                first = std::min(first, z / g.size[k]);
                last = std::max(last, z / g.size[k]);
            }
            // Far from the triangle's own box the plane's error grows, so the box bounds the slab too.
            const int64_t begin = std::max(lo[k], clampFloor(first - 1.0, 0, g.count[k] - 1) / layout.side);
            const int64_t end = std::min(hi[k], clampFloor(last + 1.0, 0, g.count[k] - 1) / layout.side + 1);
            int64_t b[3];
            b[i] = bi, b[j] = bj;
            for (b[k] = begin; b[k] < end; ++b[k]) out.push_back({layout.keyOf(b[0], b[1], b[2]), item});
        }
    }
}

}  // namespace

BrickLayout::BrickLayout(const GridSpec& g) {
    const int64_t longest = std::max({g.count[0], g.count[1], g.count[2]});
    side = longest <= 128 ? 8 : longest <= 256 ? 16 : 32;
    for (int a = 0; a < 3; ++a) count[a] = (g.count[a] + side - 1) / side;
}

CellBox BrickLayout::box(uint64_t key, const GridSpec& g) const {
    const int64_t k = static_cast<int64_t>(key);
    const int64_t b[3] = {k / (count[1] * count[2]), k / count[2] % count[1], k % count[2]};
    CellBox out;
    for (int a = 0; a < 3; ++a) {
        out.lo[a] = b[a] * side;
        out.hi[a] = std::min(g.count[a], out.lo[a] + side);
    }
    return out;
}

int64_t BrickLists::find(uint64_t key) const {
    const auto at = std::lower_bound(keys.begin(), keys.end(), key);
    return at != keys.end() && *at == key ? at - keys.begin() : -1;
}

BrickLists groupByBrick(std::vector<KeyValue>&& pairs, const BrickLayout& layout) {
    radixSort(pairs, bitsFor(static_cast<uint64_t>(layout.numBricks())));
    BrickLists lists;
    lists.items.resize(pairs.size());
    for (size_t i = 0; i < pairs.size(); ++i) {
        if (i == 0 || pairs[i].key != pairs[i - 1].key) {
            lists.keys.push_back(pairs[i].key);
            lists.offsets.push_back(static_cast<int64_t>(i));
        }
        lists.items[i] = pairs[i].value;
    }
    lists.offsets.push_back(static_cast<int64_t>(pairs.size()));
    return lists;
}

BrickLists trianglesByBrick(const GridSpec& g, const MeshView& mesh, const BrickLayout& layout) {
    return groupByBrick(gatherInOrder<KeyValue>(mesh.numFaces, 4096,
                                                [&](int64_t begin, int64_t end, std::vector<KeyValue>& out) {
                                                    std::vector<uint64_t> scratch;
                                                    for (int64_t f = begin; f < end; ++f)
                                                        addTriangle(g, layout, mesh, f, out, scratch);
                                                }),
                        layout);
}

}  // namespace ovoxel
