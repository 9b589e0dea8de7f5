// All charts of a mesh laid flat, one to one and without mirrored faces.
#pragma once

#include <cstdint>
#include <vector>

#include "unwrap/deadline.h"
#include "unwrap/face_graph.h"
#include "unwrap/flat_chart.h"

namespace ovoxel::unwrap {

struct FlattenOptions {
    double projectCos = 0.87;   // charts whose normals stay within this cosine of the mean are projected
    double maxStretch = 1.35;   // of a chart; above it the chart is cut, if it is not small
    double smallArea = 0;       // in space
    int rounds = 10;            // of the as-rigid-as-possible map
    int64_t patchEdges = 64;    // borders of at most so many edges inside a chart are kept in shape by a patch
};

struct FlatMesh {
    std::vector<int32_t> label;       // [F] final chart, numbered by smallest face
    int32_t numCharts = 0;
    std::vector<int32_t> corner;      // [3F] row of `vertex` and `uv`
    std::vector<int32_t> vertex;      // [W] vertex of the mesh
    std::vector<Vec2> uv;             // [W] flat positions in units of length, rows in order of charts
    Deadline::Effort effort = Deadline::Effort::kFull;  // the least that was spent on a chart
};

// Charts in parallel; those that cannot be laid flat are cut and tried again, single faces in the end. `label` [F] from
// clustering. The result does not depend on the number of threads. Once the deadline has passed, charts are projected
// only, and halved until that works; later every face left becomes a chart.
FlatMesh flattenCharts(const std::vector<Vec3>& vertices, const std::vector<int32_t>& faces, const FaceGraph& graph,
                       const std::vector<int32_t>& label, int32_t count, const FlattenOptions& options,
                       const Deadline& deadline);

}  // namespace ovoxel::unwrap
