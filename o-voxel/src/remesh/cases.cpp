#include "remesh/cases.h"

namespace ovoxel::remesh {
namespace {

int cornerOf(const int offset[3]) { return 4 * offset[0] + 2 * offset[1] + offset[2]; }

// The four corners of a cell face in order around it, and the edges from each to the next.
struct Face {
    int corner[4], edge[4];
};

Face faceOf(int axis, int side) {
    const int u = (axis + 1) % 3, w = (axis + 2) % 3;
    const int around[4][2] = {{0, 0}, {1, 0}, {1, 1}, {0, 1}};
    Face face{};
    for (int i = 0; i < 4; ++i) {
        int offset[3];
        offset[axis] = side;
        offset[u] = around[i][0];
        offset[w] = around[i][1];
        face.corner[i] = cornerOf(offset);
    }
    // Edges along u have offsets (w, axis) across, edges along w have (axis, u).
    face.edge[0] = 4 * u + 2 * 0 + side;
    face.edge[1] = 4 * w + 2 * side + 1;
    face.edge[2] = 4 * u + 2 * 1 + side;
    face.edge[3] = 4 * w + 2 * side + 0;
    return face;
}

struct Traced {
    CellSheets sheets;
    int twice;
};

Traced trace(int inside, int cutFace) {
    int parent[12];
    for (int e = 0; e < 12; ++e) parent[e] = e;
    auto root = [&](int e) {
        while (parent[e] != e) e = parent[e];
        return e;
    };
    bool crossed[12] = {};
    int ambiguous[6][2];  // one edge of each of the two pieces on a face
    bool isAmbiguous[6] = {};
    for (int f = 0; f < 6; ++f) {
        const Face face = faceOf(f / 2, f % 2);
        int count = 0;
        bool in[4];
        for (int i = 0; i < 4; ++i) in[i] = inside >> face.corner[i] & 1;
        for (int i = 0; i < 4; ++i)
            if (in[i] != in[(i + 1) % 4]) {
                crossed[face.edge[i]] = true;
                ++count;
            }
        if (count == 2) {
            int first = -1;
            for (int i = 0; i < 4; ++i)
                if (in[i] != in[(i + 1) % 4]) {
                    if (first < 0) first = face.edge[i];
                    else parent[root(face.edge[i])] = root(first);
                }
        } else if (count == 4) {
            // Pieces of the surface go around the corners that are cut off: the outer ones, or the inner ones.
            const bool cutInner = f == cutFace;
            int piece = 0;
            isAmbiguous[f] = true;
            for (int i = 0; i < 4; ++i)
                if (in[i] == cutInner) {
                    const int a = face.edge[(i + 3) % 4], b = face.edge[i];
                    parent[root(a)] = root(b);
                    ambiguous[f][piece++] = a;
                }
        }
    }
    Traced result{0, -1};
    int names[12], used = 0;
    for (int e = 0; e < 12; ++e) names[e] = -1;
    for (int e = 0; e < 12; ++e) {
        int name = kNoSheet;
        if (crossed[e]) {
            int& known = names[root(e)];
            if (known < 0) known = used++;
            name = known;
        }
        result.sheets |= static_cast<CellSheets>(name) << (4 * e);
    }
    result.sheets |= static_cast<CellSheets>(used) << 48;
    for (int f = 0; f < 6; ++f)
        if (isAmbiguous[f] && root(ambiguous[f][0]) == root(ambiguous[f][1])) result.twice = f;
    return result;
}

}  // namespace

CaseTable makeCaseTable() {
    CaseTable table{};
    for (int inside = 0; inside < 256; ++inside) {
        const Traced traced = trace(inside, -1);
        table.sheets[inside] = traced.sheets;
        table.twice[inside] = static_cast<int8_t>(traced.twice);
        table.cut[inside] = traced.twice < 0 ? traced.sheets : trace(inside, traced.twice).sheets;
    }
    return table;
}

}  // namespace ovoxel::remesh
