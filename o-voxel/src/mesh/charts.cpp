#include "mesh/charts.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <unordered_map>
#include <utility>

namespace ovoxel::mesh {
namespace {

constexpr double kPi = 3.14159265358979323846;

struct Cone {
    Vec3 axis;
    double half = 0;
};

double angleBetween(const Vec3& a, const Vec3& b) { return std::atan2(norm(cross(a, b)), dot(a, b)); }

// The smallest cone around two cones.
Cone enclose(const Cone& a, const Cone& b) {
    if (norm2(a.axis) == 0) return b;  // a face without area has no normal and fits anywhere
    if (norm2(b.axis) == 0) return a;
    const double theta = angleBetween(a.axis, b.axis);
    const double hi = std::max(a.half, theta + b.half), lo = std::min(-a.half, theta - b.half);
    Cone out;
    out.half = (hi - lo) / 2;
    const double turn = (hi + lo) / 2;  // from a's axis towards b's
    const Vec3 side = b.axis - a.axis * dot(a.axis, b.axis);
    const double length = norm(side);
    out.axis = length > 1e-12 ? a.axis * std::cos(turn) + side * (std::sin(turn) / length) : a.axis;
    out.axis = out.axis * (1 / norm(out.axis));
    return out;
}

struct Border {
    double length = 0, smooth = 0;  // of the shared edges, and of those among them that are not creases
    void add(const Border& o) { length += o.length, smooth += o.smooth; }
};

struct Chart {
    Cone cone;
    double area = 0, perimeter = 0;
    uint32_t version = 0;
    std::map<int32_t, Border> border;  // by neighbouring chart (ordered: runs repeat exactly)
};

struct Merge {
    double cost;
    int32_t a, b;
    uint32_t versionA, versionB;
};

bool costlier(const Merge& l, const Merge& r) {
    if (l.cost != r.cost) return l.cost > r.cost;
    return l.a != r.a ? l.a > r.a : l.b > r.b;
}

class Clusterer {
  public:
    Clusterer(const std::vector<Vec3>& vertices, const std::vector<int32_t>& faces, const int64_t* pairs,
              const double* lengths, int64_t m, const ChartOptions& options)
        : options_(options), charts_(faces.size() / 3), parent_(faces.size() / 3) {
        for (size_t f = 0; f < charts_.size(); ++f) {
            parent_[f] = static_cast<int32_t>(f);
            const Vec3 &a = vertices[faces[3 * f]], &b = vertices[faces[3 * f + 1]], &c = vertices[faces[3 * f + 2]];
            const Vec3 n = cross(b - a, c - a);
            const double length = norm(n);
            charts_[f].cone.axis = length > 0 ? n * (1 / length) : Vec3{};
            charts_[f].area = length / 2;
            charts_[f].perimeter = norm(b - a) + norm(c - b) + norm(a - c);
            totalArea_ += length / 2;
        }
        if (!(totalArea_ > 0)) totalArea_ = 1;
        for (int64_t i = 0; i < m; ++i) {
            const int32_t a = static_cast<int32_t>(pairs[2 * i]), b = static_cast<int32_t>(pairs[2 * i + 1]);
            if (a == b) continue;
            const bool crease = angleBetween(charts_[a].cone.axis, charts_[b].cone.axis) > options_.creaseAngle;
            const Border shared{lengths[i], crease ? 0 : lengths[i]};
            charts_[a].border[b].add(shared);
            charts_[b].border[a].add(shared);
        }
    }

    void run() {
        for (int32_t a = 0; a < static_cast<int32_t>(charts_.size()); ++a) {
            for (const auto& [b, shared] : charts_[a].border) {
                if (a < b) push(a, b, shared);
            }
        }
        while (!heap_.empty()) {
            std::pop_heap(heap_.begin(), heap_.end(), costlier);
            const Merge top = heap_.back();
            heap_.pop_back();
            if (charts_[top.a].version != top.versionA || charts_[top.b].version != top.versionB) continue;
            const int32_t kept = merge(top.a, top.b);
            for (const auto& [b, shared] : charts_[kept].border) push(kept, b, shared);
        }
    }

    // Charts below the area limit join the neighbour with the longest common border, smallest charts first.
    void absorbSmall() {
        std::vector<std::pair<double, int32_t>> small;
        for (int32_t a = 0; a < static_cast<int32_t>(charts_.size()); ++a) {
            if (parent_[a] == a && charts_[a].area < options_.smallArea) small.push_back({charts_[a].area, a});
        }
        std::sort(small.begin(), small.end());
        for (const auto& entry : small) {
            const int32_t a = find(entry.second);
            if (!(charts_[a].area < options_.smallArea)) continue;
            int32_t best = -1;
            double longest = 0;
            for (const auto& [b, shared] : charts_[a].border) {
                if (shared.length <= longest) continue;
                if (enclose(charts_[a].cone, charts_[b].cone).half > options_.smallConeHalfAngle) continue;
                longest = shared.length;
                best = b;
            }
            if (best >= 0) merge(a, best);
        }
    }

    int32_t find(int32_t v) {
        while (parent_[v] != v) v = parent_[v] = parent_[parent_[v]];
        return v;
    }
    const Cone& cone(int32_t root) const { return charts_[root].cone; }

  private:
    void push(int32_t a, int32_t b, const Border& shared) {
        if (2 * shared.smooth < shared.length) return;  // a hard edge: better a seam than a fold
        if (a > b) std::swap(a, b);
        const Chart &p = charts_[a], &q = charts_[b];
        const double half = enclose(p.cone, q.cone).half;
        if (half > options_.maxConeHalfAngle) return;
        const double area = p.area + q.area, perimeter = std::max(0.0, p.perimeter + q.perimeter - 2 * shared.length);
        const double round = area > 0 ? perimeter * perimeter / (4 * kPi * area) : 0;
        const double cost = half + options_.roundness * std::min(round, 1e6) + options_.areaWeight * area / totalArea_;
        heap_.push_back({cost, a, b, p.version, q.version});
        std::push_heap(heap_.begin(), heap_.end(), costlier);
    }

    // The chart with more neighbours takes the other one in.
    int32_t merge(int32_t a, int32_t b) {
        if (charts_[a].border.size() < charts_[b].border.size()) std::swap(a, b);
        Chart &p = charts_[a], &q = charts_[b];
        p.cone = enclose(p.cone, q.cone);
        p.area += q.area;
        p.perimeter = std::max(0.0, p.perimeter + q.perimeter - 2 * p.border[b].length);
        p.border.erase(b);
        for (const auto& [c, shared] : q.border) {
            if (c == a) continue;
            p.border[c].add(shared);
            auto& other = charts_[c].border;
            other.erase(b);
            other[a].add(shared);
        }
        q.border.clear();
        parent_[b] = a;
        ++p.version;
        ++q.version;
        return a;
    }

    const ChartOptions options_;
    std::vector<Chart> charts_;
    std::vector<int32_t> parent_;
    std::vector<Merge> heap_;
    double totalArea_ = 0;
};

void planeBasis(const Vec3& n, Vec3& s, Vec3& t) {
    const Vec3 helper = std::abs(n.x) < 0.6 ? Vec3{1, 0, 0} : Vec3{0, 1, 0};
    s = cross(helper, n);
    s = s * (1 / norm(s));
    t = cross(n, s);
}

// Splits the faces of one chart into layers whose projections do not overlap on a pixel grid: a face that covers an
// occupied pixel centre goes to the next layer. Returns the layer of each face.
std::vector<int32_t> splitLayers(const std::vector<Vec3>& vertices, const std::vector<int32_t>& faces,
                                 const std::vector<int32_t>& members, const Vec3& axis) {
    Vec3 s, t;
    planeBasis(axis, s, t);
    std::vector<int32_t> layer(members.size(), 0);
    const double inf = std::numeric_limits<double>::infinity();
    double x0 = inf, y0 = inf, x1 = -inf, y1 = -inf;
    for (int32_t f : members) {
        for (int k = 0; k < 3; ++k) {
            const Vec3& p = vertices[faces[3 * static_cast<int64_t>(f) + k]];
            x0 = std::min(x0, dot(p, s)), x1 = std::max(x1, dot(p, s));
            y0 = std::min(y0, dot(p, t)), y1 = std::max(y1, dot(p, t));
        }
    }
    const double extent = std::max(x1 - x0, y1 - y0);
    if (!(extent > 0)) return layer;
    // About four pixels a face, so that the grid costs as much as the chart.
    const int size = std::clamp(static_cast<int>(2 * std::sqrt(static_cast<double>(members.size())) * 2), 16, 1024);
    const double scale = size / extent;
    std::vector<uint8_t> pending(members.size(), 1);
    size_t left = members.size();
    for (int32_t current = 0; left > 0; ++current) {
        std::vector<uint8_t> taken(static_cast<size_t>(size + 1) * (size + 1), 0);
        for (size_t i = 0; i < members.size(); ++i) {
            if (!pending[i]) continue;
            double x[3], y[3];
            for (int k = 0; k < 3; ++k) {
                const Vec3& p = vertices[faces[3 * static_cast<int64_t>(members[i]) + k]];
                x[k] = (dot(p, s) - x0) * scale;
                y[k] = (dot(p, t) - y0) * scale;
            }
            const double area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]);
            const double sign = area < 0 ? -1 : 1;
            // Pixel centres strictly inside: a shared edge belongs to neither face.
            auto covered = [&](auto&& visit) {
                const int c0 = std::max(0, static_cast<int>(std::min({x[0], x[1], x[2]}) - 0.5));
                const int c1 = std::min(size, static_cast<int>(std::max({x[0], x[1], x[2]}) + 0.5));
                const int r0 = std::max(0, static_cast<int>(std::min({y[0], y[1], y[2]}) - 0.5));
                const int r1 = std::min(size, static_cast<int>(std::max({y[0], y[1], y[2]}) + 0.5));
                for (int r = r0; r <= r1; ++r) {
                    for (int c = c0; c <= c1; ++c) {
                        const double px = c + 0.5, py = r + 0.5;
                        bool inside = true;
                        for (int k = 0; k < 3 && inside; ++k) {
                            const int n = (k + 1) % 3;
                            inside = sign * ((x[n] - x[k]) * (py - y[k]) - (y[n] - y[k]) * (px - x[k])) > 1e-9;
                        }
                        if (inside) visit(static_cast<size_t>(r) * (size + 1) + c);
                    }
                }
            };
            bool clash = false;
            covered([&](size_t pixel) { clash |= taken[pixel] != 0; });
            if (clash) continue;
            covered([&](size_t pixel) { taken[pixel] = 1; });
            layer[i] = current;
            pending[i] = 0;
            --left;
        }
    }
    return layer;
}

}  // namespace

Charts clusterCharts(const std::vector<Vec3>& vertices, const std::vector<int32_t>& faces, const int64_t* pairs,
                     const double* lengths, int64_t m, const ChartOptions& options) {
    const int64_t numFaces = static_cast<int64_t>(faces.size() / 3);
    Clusterer clusterer(vertices, faces, pairs, lengths, m, options);
    clusterer.run();
    if (options.smallArea > 0) clusterer.absorbSmall();

    std::vector<std::vector<int32_t>> members;
    std::vector<Vec3> axes;
    std::unordered_map<int32_t, int32_t> dense;
    for (int64_t f = 0; f < numFaces; ++f) {
        const int32_t root = clusterer.find(static_cast<int32_t>(f));
        const auto [it, fresh] = dense.emplace(root, static_cast<int32_t>(members.size()));
        if (fresh) {
            members.emplace_back();
            const Vec3& axis = clusterer.cone(root).axis;
            axes.push_back(norm2(axis) > 0 ? axis : Vec3{0, 0, 1});
        }
        members[it->second].push_back(static_cast<int32_t>(f));
    }
    // Key of a face = (chart, layer); connected faces of equal keys become the final charts.
    std::vector<int64_t> key(numFaces);
    std::vector<int32_t> chartOf(numFaces);
    for (size_t c = 0; c < members.size(); ++c) {
        const std::vector<int32_t> layer = splitLayers(vertices, faces, members[c], axes[c]);
        for (size_t i = 0; i < members[c].size(); ++i) {
            key[members[c][i]] = (static_cast<int64_t>(c) << 32) | layer[i];
            chartOf[members[c][i]] = static_cast<int32_t>(c);
        }
    }
    std::vector<int32_t> parent(numFaces);
    for (int64_t f = 0; f < numFaces; ++f) parent[f] = static_cast<int32_t>(f);
    auto find = [&](int32_t v) {
        while (parent[v] != v) v = parent[v] = parent[parent[v]];
        return v;
    };
    for (int64_t i = 0; i < m; ++i) {
        if (key[pairs[2 * i]] != key[pairs[2 * i + 1]]) continue;
        const int32_t a = find(static_cast<int32_t>(pairs[2 * i])), b = find(static_cast<int32_t>(pairs[2 * i + 1]));
        if (a != b) parent[std::max(a, b)] = std::min(a, b);
    }
    Charts out;
    out.label.assign(numFaces, -1);
    for (int64_t f = 0; f < numFaces; ++f) {
        const int32_t root = find(static_cast<int32_t>(f));
        if (root == f) {
            out.label[f] = static_cast<int32_t>(out.axis.size());
            out.axis.push_back(axes[chartOf[f]]);
        } else {
            out.label[f] = out.label[root];
        }
    }
    return out;
}

}  // namespace ovoxel::mesh
