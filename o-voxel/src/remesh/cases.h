// How the surface passes through a cell: which of its 12 edges belong to one sheet of the surface.
//
// Corner 4 x + 2 y + z of a cell is bit 4 x + 2 y + z of a case, set if inside. Edge 4 a + 2 p + q runs along axis a
// from the corner with offsets p along axis a + 1 and q along a + 2 (mod 3). On a cell face with two inside corners on
// a diagonal these are joined. Where both cells at such a face have one sheet that passes the face twice, the result
// would have an edge with four faces; both then cut the corners apart on that face.
// After R. Wenger, Isosurfaces: Geometry, Topology, and Algorithms, 2013, section 3.
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace ovoxel::remesh {

constexpr int kNoSheet = 15;

// Sheet number of each edge, 4 bits an edge (kNoSheet where the surface does not pass), the number of sheets above.
using CellSheets = uint64_t;
OVOXEL_HD constexpr int sheetOf(CellSheets sheets, int edge) { return static_cast<int>(sheets >> (4 * edge) & 15); }
OVOXEL_HD constexpr int sheetCount(CellSheets sheets) { return static_cast<int>(sheets >> 48 & 15); }

struct CaseTable {
    CellSheets sheets[256];
    CellSheets cut[256];   // with the corners cut apart on the face `twice`
    int8_t twice[256];     // face 2 a + side that one sheet passes twice, or -1
};

CaseTable makeCaseTable();

}  // namespace ovoxel::remesh
