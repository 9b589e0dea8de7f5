// Quadric edge collapse in rounds of edges that do not touch each other, on CPU threads or on a GPU, with equal results.
//
// A round: the cheapest edge of each vertex to one of a higher number; a cost limit, so that about as many vertices are
// below it as the round needs; of those, the cheapest edge that passes the link and flip tests is proposed; proposals
// that are lower than all others within one edge are accepted, a few times over; the mesh is written anew. The last
// round takes back the most expensive ones, so that no more faces go than asked for.
#pragma once

#include <cstdint>

#include "common/device.h"
#include "mesh/quadric.h"

namespace ovoxel::mesh {

struct CollapseOptions {
    int64_t targetFaces = 0;
    double boundaryWeight = 100.0;  // as in SimplifyOptions
    double regularization = 1e-4;
    double maxNormalAngleCos = 0.2;
    double share = 0.1;  // of the faces that one round may remove
};

struct CollapseInput {
    const float* positions;  // [numVertices, 3], in a box of edge 1 about the origin
    const int32_t* faces;    // [numFaces, 3], in range; degenerate ones are dropped
    int64_t numVertices, numFaces;
    const Quadric<float>* quadrics = nullptr;  // [numVertices] of an earlier part of the work
    const uint8_t* held = nullptr;             // [numVertices] with them
};

// The arrays are memory of the workspace. More than targetFaces are left if no edge passes the tests any more.
struct CollapseResult {
    int64_t numVertices = 0, numFaces = 0;
    int64_t rounds = 0;
    float* positions = nullptr;          // [numVertices, 3]
    int32_t* faces = nullptr;            // [numFaces, 3], in order of their lowest vertex, which comes first
    int32_t* source = nullptr;           // [numVertices] the input vertex that each one grew from
    Quadric<float>* quadrics = nullptr;  // [numVertices]
    uint8_t* held = nullptr;             // [numVertices] on an open or non-manifold edge
};

CollapseResult collapseEdges(Workspace& workspace, const CollapseInput& input, const CollapseOptions& options);
CollapseResult collapseEdgesOnDevice(Workspace& workspace, const CollapseInput& input, const CollapseOptions& options);

}  // namespace ovoxel::mesh
