// Segmentation: which faces share a chart.
#pragma once

#include <cstdint>
#include <vector>

#include "unwrap/deadline.h"
#include "unwrap/face_graph.h"

namespace ovoxel::unwrap {

struct ChartOptions {
    double maxSpread = 0.29;      // 1 - |sum of area normals| / area: 0 flat, (1 - cos t) / 2 for a cap of half angle t
    double smallSpread = 0.5;     // the same for charts that take in small ones
    double roundness = 1.0;       // weight of the chart outline against the spread
    double creaseAngle = 1.0;     // radians; charts grow across sharper edges only to take in small ones
    double texel = 0;             // edge of one texel in units of length (estimate)
    double smallTexels = 20;      // charts smaller than a square of this many texels a side are taken in
    double tinyTexels = 5;        // ... and below this one, or thinner than `thinTexels`, whatever their shape
    double thinTexels = 4;        // mean width 2 area / perimeter
    int smoothing = 6;            // passes that straighten the borders
};

// Agglomerative clustering on the face graph: in rounds, pairs of charts that are each other's cheapest neighbour merge
// (all costs scale-free), then borders are straightened and small charts join the neighbour with the longest common
// border. Returns the chart of each face, dense, numbered by smallest face. The number of rounds is bounded, so the
// work is O(F) on any input, and rounds end when the deadline has passed; the result does not depend on the number of threads.
// Costs after P. Sander et al., Multi-Chart Geometry Images, 2003; D. Cohen-Steiner et al., Variational Shape
// Approximation, 2004 (spread of normals).
std::vector<int32_t> clusterCharts(const FaceGraph& graph, const ChartOptions& options, const Deadline& deadline);

// Connected sets of faces (over twins) with equal keys, numbered by smallest face.
std::vector<int32_t> connectedLabels(const FaceGraph& graph, const std::vector<int32_t>& key, int32_t& count);

}  // namespace ovoxel::unwrap
