// Charts during clustering: their sums, and the borders they share.
#pragma once

#include <cstdint>
#include <vector>

#include "unwrap/face_graph.h"

namespace ovoxel::unwrap {

struct Cluster {
    Vec3 sum;              // of area times normal
    double area = 0;
    double perimeter = 0;  // all border edges, those of the mesh included

    void add(const Cluster& o, double shared) {
        sum = sum + o.sum;
        area += o.area;
        perimeter = perimeter + o.perimeter - 2 * shared > 0 ? perimeter + o.perimeter - 2 * shared : 0;
    }
    double spread() const { return area > 0 ? 1 - norm(sum) / area : 0; }
};

struct Arc {
    int32_t to;
    double length, crease;  // of the shared edges; of those among them that are creases
};

// Clusters numbered by smallest face, and their arcs in rows sorted by `to`.
struct ClusterGraph {
    std::vector<Cluster> clusters;
    std::vector<int64_t> begin, end;  // rows of `arcs`; there may be gaps between rows
    std::vector<Arc> arcs;

    int32_t size() const { return static_cast<int32_t>(clusters.size()); }
    const Arc* find(int32_t from, int32_t to) const;
};

// The graph of the clusters given by `label` [F] (dense).
ClusterGraph clusterGraph(const FaceGraph& graph, const std::vector<Vec3>& normals, const std::vector<int32_t>& label,
                          int32_t count, double creaseAngle);

// Merges clusters: `group` [n] names for each the cluster it joins (a root names itself). Updates `group` to the new
// dense numbers, which keep the order of the smallest member.
void contract(ClusterGraph& graph, std::vector<int32_t>& group);

}  // namespace ovoxel::unwrap
