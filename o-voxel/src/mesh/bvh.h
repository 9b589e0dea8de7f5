// Bounding-volume hierarchy over triangles: nearest point, nearest ray hit, number of ray hits.
#pragma once

#include <cstdint>
#include <vector>

#include "mesh/vec3.h"

namespace ovoxel::mesh {

struct Nearest {
    double distance2;
    int64_t face;   // -1: none
    double uvw[3];  // weights of the three corners, sum 1
};

struct RayHit {
    double t;      // distance along the (unnormalised) direction
    int64_t face;  // -1: miss
};

class Bvh {
  public:
    Bvh(std::vector<Vec3> vertices, std::vector<int32_t> faces);

    // The closest point of the surface; among equal distances the lowest face id. `hint` (a face id or -1) only saves
    // work. With `normal`, faces with normal . (*normal) < minCos do not count.
    Nearest nearest(const Vec3& p, int64_t hint, const Vec3* normal = nullptr, double minCos = -2) const;

    RayHit trace(const Vec3& origin, const Vec3& direction, double tMin) const;
    // Stops counting at maxHits.
    int64_t countHits(const Vec3& origin, const Vec3& direction, double tMin, int64_t maxHits) const;

  private:
    struct Node {
        float lo[3], hi[3];
        int32_t first;  // leaf: first entry in order_; inner: index of the right child (the left one follows the node)
        int32_t count;  // leaf: number of triangles; inner: 0
    };
    int32_t build(int64_t begin, int64_t end, const std::vector<Vec3>& centres);
    bool intersect(int64_t face, const Vec3& origin, const Vec3& direction, double& t) const;
    template <class Visit>
    void walkRay(const Vec3& origin, const Vec3& direction, double tMin, Visit&& visit) const;

    std::vector<Vec3> vertices_;
    std::vector<int32_t> faces_;
    std::vector<Vec3> normals_;
    std::vector<int32_t> order_;
    std::vector<Node> nodes_;
};

}  // namespace ovoxel::mesh
