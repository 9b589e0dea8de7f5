// Quadric edge-collapse simplification to an exact face budget.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "mesh/quadric.h"

namespace ovoxel::mesh {

struct SimplifyOptions {
    int64_t targetFaces = 0;
    double boundaryWeight = 100.0;   // weight of the planes that hold boundary edges in place, per squared edge length
    double regularization = 1e-4;    // weight of the point quadrics that keep flat regions well shaped
    double maxNormalAngleCos = 0.2;  // a collapse may turn no face by more than this (strict phase)
    int lastPhase = 2;               // see SimplifyResult::phase; 0: stop where no collapse passes the strict tests
};

constexpr double kMinShape = 0.05;  // of FaceLimits, strict phase

struct SimplifyInput {
    std::vector<Vec3> positions;             // [V], in a box of edge 1
    std::vector<int32_t> faces;              // [3 * F], in range; degenerate ones are dropped
    std::vector<Quadric<double>> quadrics;   // [V] of an earlier part of the work, or empty
    std::vector<uint8_t> held;               // [V] with them: on an open or non-manifold edge
};

struct SimplifyResult {
    std::vector<Vec3> positions;
    std::vector<int32_t> faces;         // [F', 3] flattened, original face order kept
    std::vector<int32_t> vertexSource;  // [V'] index of the input vertex that survived
    std::vector<Quadric<double>> quadrics;  // [V'] to go on from here
    std::vector<uint8_t> held;              // [V']
    int phase = 0;                      // 0 strict, 1 flips up to 90 degrees allowed, 2 no link or flip test
};

// M. Garland and P. Heckbert, Surface Simplification Using Quadric Error Metrics, 1997, with area-weighted planes,
// boundary planes, optimal placement, the link condition of Dey et al. 1999 and a normal test. Deterministic. Collapses
// one edge at a time in order of (cost, vertex ids).
SimplifyResult simplifyMesh(const SimplifyInput& input, const SimplifyOptions& options);

// Texture coordinates: vertices at one position are one of `SimplifyInput`, its copies are wedges.
struct SeamInput {
    std::vector<int32_t> wedges;               // [3 * F] wedge at each face corner
    std::vector<std::array<double, 2>> uvs;    // [wedges]
};

struct SeamResult {
    SimplifyResult surface;                  // phase 0 or 1
    std::vector<int32_t> wedges;             // [F', 3] wedge at each face corner
    std::vector<std::array<double, 2>> uvs;  // [W']
    std::vector<int32_t> wedgeSource;        // [W'] wedge of the input
};

// The same one edge at a time, such that the texture stays where it is (see simplify_seams.cpp). Stops above the target
// where nothing can go without a change of topology or a shift of the texture.
SeamResult simplifyWithSeams(const SimplifyInput& input, const SimplifyOptions& options, const SeamInput& seams);

}  // namespace ovoxel::mesh
