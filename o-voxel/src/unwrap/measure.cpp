#include "unwrap/measure.h"

#include <algorithm>
#include <cmath>

#include "common/parallel.h"

namespace ovoxel::unwrap {
namespace {

constexpr int64_t kBlock = 8192;
constexpr int kBins = 4096;
constexpr double kBinWidth = 0.002;  // in the logarithm of the density

struct Sums {
    double flat = 0, goodFlat = 0, goodSpace = 0, squared = 0;
};

// Squared singular values of the map from the plane to space, summed: |dp/ds|^2 + |dp/dt|^2.
double jacobian2(const Vec3& e, const Vec3& g, const Vec2& p, const Vec2& q, double det) {
    const Vec3 ds = (e * q.y - g * p.y) * (1 / det), dt = (g * p.x - e * q.x) * (1 / det);
    return norm2(ds) + norm2(dt);
}

// Length of the border of each chart: edges that one half-edge has, or several of one direction.
std::vector<double> perimeters(const std::vector<Vec2>& flat, const std::vector<int32_t>& corner,
                               const std::vector<int32_t>& label, int32_t numCharts) {
    // Half-edges by their lower end, in compressed rows: each row is short.
    std::vector<int64_t> start(flat.size() + 1, 0);
    const int64_t n = static_cast<int64_t>(corner.size());
    for (int64_t h = 0; h < n; ++h) ++start[std::min(corner[h], corner[nextCorner(h)]) + 1];
    for (size_t v = 0; v < flat.size(); ++v) start[v + 1] += start[v];
    std::vector<int64_t> at(start.begin(), start.end() - 1);
    std::vector<std::pair<int32_t, int32_t>> half(n);  // upper end, chart
    for (int64_t h = 0; h < n; ++h) {
        const int32_t a = corner[h], b = corner[nextCorner(h)];
        half[at[std::min(a, b)]++] = {std::max(a, b), label[h / 3]};
    }
    std::vector<double> length(flat.size(), 0);
    std::vector<int32_t> chart(flat.size(), 0);
    parallelFor(static_cast<int64_t>(flat.size()), kBlock, [&](int64_t begin, int64_t end) {
        for (int64_t v = begin; v < end; ++v) {
            std::sort(half.begin() + start[v], half.begin() + start[v + 1]);
            for (int64_t k = start[v]; k < start[v + 1]; ++k) {
                const bool again = (k > start[v] && half[k].first == half[k - 1].first) ||
                                   (k + 1 < start[v + 1] && half[k].first == half[k + 1].first);
                chart[v] = half[k].second;  // a flat vertex belongs to one chart
                const Vec2 d = flat[half[k].first] - flat[v];
                if (!again) length[v] += std::sqrt(dot(d, d));
            }
        }
    });
    std::vector<double> sum(numCharts, 0);
    for (size_t v = 0; v < flat.size(); ++v) sum[chart[v]] += length[v];
    return sum;
}

}  // namespace

Quality measure(const std::vector<Vec3>& vertices, const std::vector<int32_t>& faces, const std::vector<Vec2>& flat,
                const std::vector<int32_t>& corner, const std::vector<int32_t>& label, int32_t numCharts,
                double thinWidth) {
    const int64_t n = static_cast<int64_t>(label.size()), blocks = (n + kBlock - 1) / kBlock;
    std::vector<double> area(n), space(n);
    const auto overBlocks = [&](auto&& body) {
        parallelFor(blocks, 1, [&](int64_t begin, int64_t end) {
            for (int64_t b = begin; b < end; ++b) body(b, b * kBlock, std::min(n, (b + 1) * kBlock));
        });
    };
    const auto edges = [&](int64_t f, Vec3& e, Vec3& g, Vec2& p, Vec2& q) {
        const Vec3& o = vertices[faces[3 * f]];
        e = vertices[faces[3 * f + 1]] - o, g = vertices[faces[3 * f + 2]] - o;
        const Vec2& m = flat[corner[3 * f]];
        p = flat[corner[3 * f + 1]] - m, q = flat[corner[3 * f + 2]] - m;
    };
    std::vector<Sums> sums(blocks);
    overBlocks([&](int64_t b, int64_t begin, int64_t end) {
        for (int64_t f = begin; f < end; ++f) {
            Vec3 e, g;
            Vec2 p, q;
            edges(f, e, g, p, q);
            area[f] = std::abs(cross(p, q)) / 2;
            space[f] = norm(cross(e, g)) / 2;
            sums[b].flat += area[f];
        }
    });
    Quality out;
    for (const Sums& s : sums) out.area += s.flat;
    const double least = 1e-12 * out.area;
    std::vector<double> chartArea(numCharts, 0);
    for (int64_t f = 0; f < n; ++f) chartArea[label[f]] += area[f];
    const std::vector<double> perimeter = perimeters(flat, corner, label, numCharts);
    int32_t thin = 0;
    for (int32_t c = 0; c < numCharts; ++c) {
        if (2 * chartArea[c] >= thinWidth * perimeter[c]) continue;
        ++thin;
        out.thinArea += out.area > 0 ? chartArea[c] / out.area : 0;
    }
    out.thinCharts = numCharts > 0 ? static_cast<double>(thin) / numCharts : 0;
    out.thinArea = std::min(out.thinArea, 1.0);
    const auto good = [&](int64_t f) { return area[f] > least && space[f] > 0; };
    overBlocks([&](int64_t b, int64_t begin, int64_t end) {
        for (int64_t f = begin; f < end; ++f) {
            if (!good(f)) continue;
            sums[b].goodFlat += area[f];
            sums[b].goodSpace += space[f];
        }
    });
    Sums all;
    for (const Sums& s : sums) all.goodFlat += s.goodFlat, all.goodSpace += s.goodSpace;
    if (!(all.goodFlat > 0)) return out;
    const double scale2 = all.goodFlat / all.goodSpace;
    std::vector<std::vector<double>> bins(blocks);
    overBlocks([&](int64_t b, int64_t begin, int64_t end) {
        bins[b].assign(kBins, 0);
        for (int64_t f = begin; f < end; ++f) {
            if (!good(f)) continue;
            Vec3 e, g;
            Vec2 p, q;
            edges(f, e, g, p, q);
            sums[b].squared += std::min(jacobian2(e, g, p, q, cross(p, q)) * scale2 / 2, 1e4) * space[f];
            const double density = std::log(area[f] / space[f] / scale2) / 2;
            bins[b][std::clamp(static_cast<int>(density / kBinWidth + kBins / 2.0 + 0.5), 0, kBins - 1)] += space[f];
        }
    });
    for (const Sums& s : sums) all.squared += s.squared;
    out.stretch = std::sqrt(all.squared / all.goodSpace);
    double below = 0;
    bool low = false;
    for (int k = 0; k < kBins; ++k) {
        for (const auto& block : bins) below += block[k];
        const double density = std::exp((k - kBins / 2.0) * kBinWidth);
        if (!low && below >= 0.01 * all.goodSpace) low = true, out.densityLow = density;
        if (below >= 0.99 * all.goodSpace) {
            out.densityHigh = density;
            break;
        }
    }
    return out;
}

}  // namespace ovoxel::unwrap
