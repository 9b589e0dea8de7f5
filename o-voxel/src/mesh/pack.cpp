#include "mesh/pack.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace ovoxel::mesh {
namespace {

struct Segment {
    int32_t x, y, width;
};

// Lowest y at which a rectangle of this width can lie with its left side on segment i; -1 if it sticks out.
int32_t restHeight(const std::vector<Segment>& sky, size_t i, int32_t width, int32_t resolution) {
    if (sky[i].x + width > resolution) return -1;
    int32_t y = 0;
    for (int32_t left = width; left > 0; ++i) {
        y = std::max(y, sky[i].y);
        left -= sky[i].width;
    }
    return y;
}

void place(std::vector<Segment>& sky, size_t i, int32_t width, int32_t top) {
    sky.insert(sky.begin() + i, Segment{sky[i].x, top, width});
    const int32_t end = sky[i].x + width;
    size_t j = i + 1;
    while (j < sky.size() && sky[j].x < end) {
        const int32_t over = end - sky[j].x;
        if (sky[j].width <= over) {
            sky.erase(sky.begin() + j);
            continue;
        }
        sky[j].x += over;
        sky[j].width -= over;
        break;
    }
    for (size_t k = 0; k + 1 < sky.size();) {
        if (sky[k].y == sky[k + 1].y) {
            sky[k].width += sky[k + 1].width;
            sky.erase(sky.begin() + k + 1);
        } else {
            ++k;
        }
    }
}

bool tryPack(const double* sizes, int64_t count, int32_t resolution, int32_t padding, double scale, Packing& out) {
    std::vector<int32_t> w(count), h(count);
    int64_t total = 0;
    for (int64_t i = 0; i < count; ++i) {
        const double pw = std::ceil(sizes[2 * i] * scale) + 1 + 2 * padding;
        const double ph = std::ceil(sizes[2 * i + 1] * scale) + 1 + 2 * padding;
        if (!(std::max(pw, ph) <= resolution)) return false;
        w[i] = static_cast<int32_t>(pw);
        h[i] = static_cast<int32_t>(ph);
        total += static_cast<int64_t>(w[i]) * h[i];
    }
    if (total > static_cast<int64_t>(resolution) * resolution) return false;
    std::vector<int64_t> order(count);
    std::iota(order.begin(), order.end(), int64_t{0});
    std::sort(order.begin(), order.end(), [&](int64_t l, int64_t r) {
        const int32_t a = std::max(w[l], h[l]), b = std::max(w[r], h[r]);
        if (a != b) return a > b;
        const int32_t c = std::min(w[l], h[l]), d = std::min(w[r], h[r]);
        return c != d ? c > d : l < r;
    });
    out.x.assign(count, 0);
    out.y.assign(count, 0);
    out.rotated.assign(count, 0);
    std::vector<Segment> sky{{0, 0, resolution}};
    for (int64_t i : order) {
        int32_t bestTop = std::numeric_limits<int32_t>::max(), bestWidth = 0, bestY = 0;
        size_t bestSegment = 0;
        bool found = false, turn = false;
        for (int r = 0; r < 2; ++r) {
            const int32_t width = r ? h[i] : w[i], height = r ? w[i] : h[i];
            if (r && width == height) break;
            for (size_t k = 0; k < sky.size(); ++k) {
                const int32_t y = restHeight(sky, k, width, resolution);
                if (y < 0 || y + height > resolution) continue;
                if (y + height < bestTop || (y + height == bestTop && sky[k].width < bestWidth)) {
                    bestTop = y + height, bestWidth = sky[k].width, bestY = y, bestSegment = k;
                    found = true, turn = r == 1;
                }
            }
        }
        if (!found) return false;
        out.x[i] = sky[bestSegment].x;
        out.y[i] = bestY;
        out.rotated[i] = turn;
        place(sky, bestSegment, turn ? h[i] : w[i], bestTop);
    }
    out.scale = scale;
    out.fits = true;
    return true;
}

}  // namespace

Packing packCharts(const double* sizes, int64_t count, int32_t resolution, int32_t padding) {
    Packing best;
    double area = 0, longest = 0;
    for (int64_t i = 0; i < count; ++i) {
        area += sizes[2 * i] * sizes[2 * i + 1];
        longest = std::max({longest, sizes[2 * i], sizes[2 * i + 1]});
    }
    double hi = area > 0 ? resolution / std::sqrt(area) : (longest > 0 ? resolution / longest : 1.0);
    double lo = 0;
    if (!tryPack(sizes, count, resolution, padding, lo, best)) return best;  // not even single texels fit
    for (int step = 0; step < 18 && hi - lo > 2e-3 * hi; ++step) {
        const double mid = (lo + hi) / 2;
        Packing attempt;
        if (tryPack(sizes, count, resolution, padding, mid, attempt)) {
            best = std::move(attempt);
            lo = mid;
        } else {
            hi = mid;
        }
    }
    return best;
}

}  // namespace ovoxel::mesh
