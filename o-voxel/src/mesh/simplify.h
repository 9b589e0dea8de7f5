// Quadric edge-collapse simplification to an exact face budget.
#pragma once

#include <cstdint>
#include <vector>

#include "mesh/vec3.h"

namespace ovoxel::mesh {

struct SimplifyOptions {
    int64_t targetFaces = 0;
    double boundaryWeight = 100.0;   // weight of the planes that hold boundary edges in place, per squared edge length
    double regularization = 1e-4;    // weight of the point quadrics that keep flat regions well shaped
    double maxNormalAngleCos = 0.2;  // a collapse may turn no face by more than this (strict phase)
    bool mustReachTarget = true;     // false: stop where no collapse passes the link and flip tests
};

struct SimplifyResult {
    std::vector<Vec3> vertices;
    std::vector<int32_t> faces;         // [F', 3] flattened, original face order kept
    std::vector<int32_t> vertexSource;  // [V'] index of the input vertex that survived
    int phase = 0;                      // 0 strict, 1 flips up to 90 degrees allowed, 2 no link or flip test
};

// vertices [V], faces [3 * F] with indices in range. Garland & Heckbert, Surface Simplification Using Quadric Error
// Metrics, 1997, with area-weighted planes, boundary planes, optimal placement, the link condition of Dey et al. 1999
// and a normal test. Deterministic. Collapses one edge at a time in order of (cost, vertex ids).
SimplifyResult simplifyMesh(const std::vector<Vec3>& vertices, const std::vector<int32_t>& faces,
                            const SimplifyOptions& options);

}  // namespace ovoxel::mesh
