#include "unwrap/pack.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>

#include "common/parallel.h"
#include "unwrap/bitmap.h"

namespace ovoxel::unwrap {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr int32_t kMostCells = 64;  // of a chart on the grid on which it is placed

// A chart turned to its smallest rectangle, its lower corner at the origin.
struct Piece {
    std::vector<int32_t> faces, rows;  // rows of uv
    double cosine = 1, sine = 0;
    Vec2 low, size;
    double area = 0;
};

struct Place {
    int32_t x = 0, y = 0;   // texel of the lower corner, padding included
    int32_t turns = 0;      // quarters, counter-clockwise in (x, y)
    int32_t width = 0, height = 0;  // before turning, padding included
};

Vec2 rotate(const Vec2& p, double c, double s) { return {c * p.x - s * p.y, s * p.x + c * p.y}; }

std::vector<Vec2> convexHull(std::vector<Vec2> p) {
    std::sort(p.begin(), p.end(), [](const Vec2& a, const Vec2& b) { return a.x != b.x ? a.x < b.x : a.y < b.y; });
    if (p.size() < 3) return p;
    std::vector<Vec2> hull(2 * p.size());
    size_t k = 0;
    for (size_t i = 0; i < p.size(); ++i) {
        while (k >= 2 && cross(hull[k - 1] - hull[k - 2], p[i] - hull[k - 2]) <= 0) --k;
        hull[k++] = p[i];
    }
    for (size_t i = p.size() - 1, floor = k + 1; i-- > 0;) {
        while (k >= floor && cross(hull[k - 1] - hull[k - 2], p[i] - hull[k - 2]) <= 0) --k;
        hull[k++] = p[i];
    }
    hull.resize(std::max<size_t>(1, k - 1));
    return hull;
}

// The turn with the smallest bounding rectangle, wider than high.
void turnToRectangle(const std::vector<Vec2>& uv, Piece& piece) {
    std::vector<Vec2> points(piece.rows.size());
    for (size_t i = 0; i < points.size(); ++i) points[i] = uv[piece.rows[i]];
    const std::vector<Vec2> hull = convexHull(std::move(points));
    constexpr int angles = 45;
    double best = 1e300;
    for (int k = 0; k < 2 * angles; ++k) {
        const double angle = k * (kPi / 2 / angles), c = std::cos(angle), s = std::sin(angle);
        Vec2 low{1e300, 1e300}, high{-1e300, -1e300};
        for (const Vec2& p : hull) {
            const Vec2 q = rotate(p, c, s);
            low = {std::min(low.x, q.x), std::min(low.y, q.y)};
            high = {std::max(high.x, q.x), std::max(high.y, q.y)};
        }
        const Vec2 size = high - low;
        if (size.x < size.y * (1 - 1e-9)) continue;
        if (size.x * size.y < best * (1 - 1e-9)) {
            best = size.x * size.y;
            piece.cosine = c, piece.sine = s, piece.low = low, piece.size = size;
        }
    }
}

// Where a point of the chart lies in its own rectangle, in texels; centred, so that turns keep it off texel borders.
Vec2 inRectangle(const Piece& piece, const Vec2& uv, double scale, int32_t padding) {
    const Vec2 size = piece.size * scale;
    const Vec2 slack{std::floor(size.x) + 1 - size.x, std::floor(size.y) + 1 - size.y};
    return (rotate(uv, piece.cosine, piece.sine) - piece.low) * scale + slack * 0.5 +
           Vec2{static_cast<double>(padding), static_cast<double>(padding)};
}

// Texels that the chart touches at this scale, with `padding` texels around.
Bitmap rasterize(const std::vector<Vec2>& uv, const std::vector<int32_t>& corner, const Piece& piece, double scale,
                 int32_t padding, int32_t width, int32_t height) {
    Bitmap map(width, height);
    for (int32_t f : piece.faces) {
        Vec2 p[3];
        for (int k = 0; k < 3; ++k) {
            p[k] = inRectangle(piece, uv[corner[3 * static_cast<int64_t>(f) + k]], scale, padding);
        }
        const double top = std::max({p[0].y, p[1].y, p[2].y});
        const int32_t y0 = static_cast<int32_t>(std::min({p[0].y, p[1].y, p[2].y})),
                      y1 = std::min(height - 1, static_cast<int32_t>(top));
        for (int32_t y = y0; y <= y1; ++y) {
            double x0 = 1e300, x1 = -1e300;
            for (int k = 0; k < 3; ++k) {  // the part of each edge between y and y + 1
                const Vec2 &a = p[k].y <= p[(k + 1) % 3].y ? p[k] : p[(k + 1) % 3],
                           &b = p[k].y <= p[(k + 1) % 3].y ? p[(k + 1) % 3] : p[k];
                if (b.y < y || a.y > y + 1) continue;
                const double slope = b.y > a.y ? (b.x - a.x) / (b.y - a.y) : 0;
                const double xa = a.y < y ? a.x + (y - a.y) * slope : a.x;
                const double xb = b.y > y + 1 ? a.x + (y + 1 - a.y) * slope : b.x;
                x0 = std::min({x0, xa, xb}), x1 = std::max({x1, xa, xb});
            }
            if (x1 < x0) continue;
            map.setRange(y, std::clamp(static_cast<int32_t>(x0), 0, width - 1),
                         std::clamp(static_cast<int32_t>(x1), 0, width - 1));
        }
    }
    return map.dilated(padding);
}

void extents(const std::vector<Piece>& pieces, double scale, int32_t padding, int32_t resolution,
             std::vector<Place>& places, bool& fits) {
    places.assign(pieces.size(), Place{});
    fits = true;
    for (size_t i = 0; i < pieces.size() && fits; ++i) {
        // One texel more than the extent, so that rounding never leaves the bitmap.
        const double w = std::floor(pieces[i].size.x * scale) + 1 + 2 * padding,
                     h = std::floor(pieces[i].size.y * scale) + 1 + 2 * padding;
        fits = std::max(w, h) <= resolution;
        if (fits) places[i].width = static_cast<int32_t>(w), places[i].height = static_cast<int32_t>(h);
    }
}

// Places all charts at one scale; false if they do not fit or `stop` says that a larger scale has been found to fit.
template <class Stop>
bool packAt(const std::vector<Vec2>& uv, const std::vector<int32_t>& corner, const std::vector<Piece>& pieces,
            double scale, const PackOptions& options, std::vector<Place>& places, const Stop& stop) {
    const int32_t side = options.resolution, n = static_cast<int32_t>(pieces.size());
    bool fits;
    extents(pieces, scale, options.padding, side, places, fits);
    if (!fits) return false;
    std::vector<Bitmap> maps(n);
    int64_t bits = 0;
    for (int32_t i = 0; i < n; ++i) {
        maps[i] = rasterize(uv, corner, pieces[i], scale, options.padding, places[i].width, places[i].height);
        bits += maps[i].count();
        if (bits > static_cast<int64_t>(side) * side || (i % 64 == 0 && stop())) return false;
    }
    std::vector<int32_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
        const int32_t p = places[a].width + places[a].height, q = places[b].width + places[b].height;
        return p != q ? p > q : a < b;
    });
    std::vector<Bitmap> fields;  // the texture, and coarser: a bit for 2 x 2, 4 x 4, ...
    for (int32_t s = side;; s = (s + 1) / 2) {
        fields.emplace_back(s, s);
        const int32_t whole = side >> (fields.size() - 1);  // cells that stick out are taken from the start
        for (int32_t k = 0; k < s && whole < s; ++k) fields.back().set(whole, k), fields.back().set(k, whole);
        if (s <= kMostCells) break;
    }
    int32_t bucket = -1, hint = 0;
    for (int32_t k = 0; k < n; ++k) {
        const int32_t i = order[k];
        Place& place = places[i];
        if (k % 64 == 0 && stop()) return false;
        int32_t level = 0;
        while (level + 1 < static_cast<int32_t>(fields.size()) &&
               std::max(place.width, place.height) > kMostCells << level) {
            ++level;
        }
        // Charts of one size look for their place from where the last one found its own.
        const int32_t size = static_cast<int32_t>(4 * std::log2(place.width + place.height)) * 32 + level;
        if (size != bucket) bucket = size, hint = 0;
        // On the grid of this level; a bitmap of whole cells turns as the chart does.
        const int32_t cell = 1 << level, w = (place.width + cell - 1) / cell * cell,
                      h = (place.height + cell - 1) / cell * cell;
        Bitmap coarse = maps[i];
        if (level > 0) {
            Bitmap whole(w, h);
            whole.add(maps[i], 0, 0);
            maps[i] = whole;
            coarse = std::move(whole);
            for (int32_t l = 0; l < level; ++l) coarse = coarse.halved();
        }
        const Bitmap& field = fields[level];
        const int32_t cells = side / cell;  // whole ones only
        int32_t best = cells + 1, bestX = 0, bestY = 0;
        for (int32_t turn = 0; turn < 4; ++turn) {
            const Runs runs(coarse);
            int32_t x = 0, y = 0;
            const int32_t to = std::min(cells, best - 1) - runs.height;
            if (findPlace(field, runs, std::min(hint, std::max(0, to)), to, x, y)) {
                best = y + runs.height;
                bestX = x, bestY = y, place.turns = turn;
            }
            if (turn < 3) coarse = coarse.turned();
        }
        if (best > cells) return false;
        hint = bestY;
        place.x = bestX * cell;
        place.y = bestY * cell;
        place.width = w;
        place.height = h;
        Bitmap placed = std::move(maps[i]);
        for (int32_t t = 0; t < place.turns; ++t) placed = placed.turned();
        fields[0].add(placed, place.x, place.y);
        // Cells of the coarser fields under the chart.
        for (size_t l = 1; l < fields.size(); ++l) {
            const int32_t x0 = place.x >> l, x1 = (place.x + placed.width - 1) >> l, y0 = place.y >> l,
                          y1 = std::min((place.y + placed.height - 1) >> l, fields[l].height - 1);
            for (int32_t y = y0; y <= y1; ++y) {
                const uint64_t* a = fields[l - 1].row(2 * y);
                const uint64_t* b = 2 * y + 1 < fields[l - 1].height ? fields[l - 1].row(2 * y + 1) : a;
                for (int32_t word = x0 >> 6; word <= std::min(x1 >> 6, fields[l].words - 1); ++word) {
                    uint64_t out = 0;
                    for (int32_t half = 0; half < 2; ++half) {
                        if (2 * word + half >= fields[l - 1].words) continue;
                        uint64_t v = a[2 * word + half] | b[2 * word + half];
                        v = (v | v >> 1) & 0x5555555555555555ull;
                        v = (v | v >> 1) & 0x3333333333333333ull;
                        v = (v | v >> 2) & 0x0F0F0F0F0F0F0F0Full;
                        v = (v | v >> 4) & 0x00FF00FF00FF00FFull;
                        v = (v | v >> 8) & 0x0000FFFF0000FFFFull;
                        v = (v | v >> 16) & 0x00000000FFFFFFFFull;
                        out |= v << (32 * half);
                    }
                    fields[l].row(y)[word] |= out;
                }
            }
        }
    }
    return true;
}

// Rows of rectangles, highest first.
bool packShelves(const std::vector<Piece>& pieces, double scale, const PackOptions& options, std::vector<Place>& places) {
    bool fits;
    extents(pieces, scale, options.padding, options.resolution, places, fits);
    if (!fits) return false;
    std::vector<int32_t> order(pieces.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
        const Place &p = places[a], &q = places[b];
        if (p.height != q.height) return p.height > q.height;
        return p.width != q.width ? p.width > q.width : a < b;
    });
    int32_t x = 0, y = 0, height = 0;
    for (int32_t i : order) {
        Place& p = places[i];
        if (x + p.width > options.resolution) x = 0, y += height, height = 0;
        height = std::max(height, p.height);
        if (y + height > options.resolution) return false;
        p.x = x, p.y = y;
        x += p.width;
    }
    return true;
}

Vec2 apply(const Piece& piece, const Place& place, double scale, int32_t padding, const Vec2& uv) {
    const double w = place.width, h = place.height;
    Vec2 p = inRectangle(piece, uv, scale, padding);
    switch (place.turns) {  // as Bitmap::turned does: (x, y) -> (height - y, x)
        case 1: p = {h - p.y, p.x}; break;
        case 2: p = {w - p.x, h - p.y}; break;
        case 3: p = {p.y, w - p.x}; break;
    }
    return p + Vec2{static_cast<double>(place.x), static_cast<double>(place.y)};
}

}  // namespace

Packing packCharts(const std::vector<Vec2>& uv, const std::vector<int32_t>& corner, const std::vector<int32_t>& label,
                   int32_t numCharts, const PackOptions& options) {
    std::vector<Piece> pieces(numCharts);
    for (size_t f = 0; f < label.size(); ++f) pieces[label[f]].faces.push_back(static_cast<int32_t>(f));
    parallelFor(numCharts, 8, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            Piece& piece = pieces[i];
            for (int32_t f : piece.faces) {
                const int32_t* c = &corner[3 * static_cast<int64_t>(f)];
                piece.rows.insert(piece.rows.end(), c, c + 3);
                piece.area += std::abs(cross(uv[c[1]] - uv[c[0]], uv[c[2]] - uv[c[0]])) / 2;
            }
            std::sort(piece.rows.begin(), piece.rows.end());
            piece.rows.erase(std::unique(piece.rows.begin(), piece.rows.end()), piece.rows.end());
            turnToRectangle(uv, piece);
        }
    });
    double area = 0, longest = 0;
    for (const Piece& p : pieces) area += p.area, longest = std::max(longest, p.size.x);
    const double full = area > 0 ? options.resolution / std::sqrt(area)
                                 : (longest > 0 ? options.resolution / longest : 1.0);  // all texels used

    Packing out;
    std::vector<Place> best;
    // Tries scales at the same time; each is a run of its own, so the outcome does not depend on the threads.
    auto tryAll = [&](const std::vector<double>& scales) {
        const int64_t m = static_cast<int64_t>(scales.size());
        std::vector<std::vector<Place>> places(m);
        std::vector<uint8_t> ok(m, 0);
        std::atomic<int64_t> found{-1};
        parallelFor(m, 1, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
                const auto stop = [&] { return found.load() > i; };  // a larger scale fits already
                ok[i] = options.rectangles ? packShelves(pieces, scales[i], options, places[i])
                                           : packAt(uv, corner, pieces, scales[i], options, places[i], stop);
                for (int64_t now = found.load(); ok[i] && now < i && !found.compare_exchange_weak(now, i);) {
                }
            }
        });
        for (int64_t i = m - 1; i >= 0; --i) {
            if (!ok[i]) continue;
            out.scale = scales[i];
            best = std::move(places[i]);
            out.fits = true;
            return i;
        }
        return int64_t{-1};
    };
    double use = 0.9, step = 0.05;
    for (int round = 0; round < 12 && !out.fits; ++round) {
        std::vector<double> scales;
        for (int k = 7; k >= 0; --k) scales.push_back(full * std::sqrt(use - k * step));
        const int64_t i = tryAll(scales);
        if (i >= 0) {
            const double lower = use - static_cast<double>(7 - i) * step;
            scales.clear();
            for (int k = 1; k < 8; ++k) scales.push_back(full * std::sqrt(lower + k * step / 8));
            tryAll(scales);
        }
        use = use - 8 * step > 0.01 ? use - 8 * step : use / 4;
        step = use > 0.3 ? 0.05 : use / 8.5;
    }
    if (!out.fits) tryAll({0.0});
    if (!out.fits) return out;
    out.uv.resize(uv.size());
    for (int32_t i = 0; i < numCharts; ++i) {
        for (int32_t row : pieces[i].rows) out.uv[row] = apply(pieces[i], best[i], out.scale, options.padding, uv[row]);
    }
    return out;
}

}  // namespace ovoxel::unwrap
