#include "unwrap/pack.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>

#include "common/parallel.h"
#include "unwrap/bitmap.h"
#include "unwrap/pack_shapes.h"

namespace ovoxel::unwrap {
namespace {

struct Place {
    int32_t x = 0, y = 0;   // texel of the lower corner, padding included
    int32_t pose = 0;       // which of the poses of the chart
    int32_t turns = 0;      // quarters, counter-clockwise in (x, y)
};

// The texture and coarser copies: a bit for 2 x 2 texels, 4 x 4, ...
class Fields {
  public:
    Fields(int32_t side, int32_t levels) {
        for (int32_t l = 0; l < levels; ++l) {
            const int32_t cells = (side + (1 << l) - 1) >> l, whole = side >> l;
            fields_.emplace_back(cells, cells);
            for (int32_t k = 0; k < cells && whole < cells; ++k) {  // cells that stick out are taken from the start
                fields_.back().set(whole, k);
                fields_.back().set(k, whole);
            }
        }
    }
    const Bitmap& operator[](int32_t level) const { return fields_[level]; }

    void add(const Bitmap& map, int32_t x, int32_t y) {
        fields_[0].add(map, x, y);
        for (size_t l = 1; l < fields_.size(); ++l) {
            const int32_t x0 = x >> l, x1 = (x + map.width - 1) >> l, y0 = y >> l, y1 = (y + map.height - 1) >> l;
            const Bitmap& fine = fields_[l - 1];
            for (int32_t r = y0; r <= std::min(y1, fields_[l].height - 1); ++r) {
                halveRow(fine, r, x0 >> 6, x1 >> 6, fields_[l].row(r));
            }
        }
    }

  private:
    std::vector<Bitmap> fields_;
};

// Key by which charts are taken, large ones first; `strategy` > 2 shuffles charts of about one size.
double sizeKey(const Shape& shape, int32_t i, int32_t strategy) {
    const double w = shape.map.width, h = shape.map.height;
    switch (strategy) {
        case 0: return w + h;
        case 1: return static_cast<double>(shape.bits);
        case 2: return std::max(w, h);
    }
    const uint32_t mix = (static_cast<uint32_t>(i) * 2654435761u ^ static_cast<uint32_t>(strategy) * 40503u) * 2246822519u;
    return (w + h) * (0.75 + 0.5 * static_cast<double>(mix >> 8) / (1 << 24));
}

// Places all charts; false if they do not fit or `stop` says that the run has become useless.
template <class Stop>
bool placeAll(const std::vector<ShapeSet>& shapes, int32_t side, int32_t strategy, std::vector<Place>& places,
              const Stop& stop) {
    const int32_t n = static_cast<int32_t>(shapes.size());
    std::vector<double> key(n);
    int32_t levels = 1;
    for (int32_t i = 0; i < n; ++i) {
        key[i] = sizeKey(shapes[i][0], i, strategy);
        for (const Shape& shape : shapes[i]) levels = std::max(levels, shape.level + 1);
    }
    std::vector<int32_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return key[a] != key[b] ? key[a] > key[b] : a < b; });
    Fields fields(side, levels);
    places.assign(n, Place{});
    int32_t bucket = -1, hint = 0;
    for (int32_t k = 0; k < n; ++k) {
        const int32_t i = order[k];
        if (k % 16 == 0 && stop()) return false;
        // Many charts of one size: each looks for its place from where the one before found its own.
        const Shape& first = shapes[i][0];
        const int32_t size = static_cast<int32_t>(4 * std::log2(first.map.width + first.map.height)) * 32 + first.level;
        if (size != bucket || n < 400) bucket = size, hint = 0;
        int32_t best = side + 1, bestY = 0;
        Place& place = places[i];
        for (size_t pose = 0; pose < shapes[i].size(); ++pose) {
            const Shape& shape = shapes[i][pose];
            const int32_t cell = 1 << shape.level;
            for (int32_t turn = 0; turn < 4; ++turn) {
                const Runs& runs = shape.turned[turn];
                int32_t x = 0, y = 0;
                const int32_t to = (best - 1) / cell - runs.height;  // ends below the best so far
                if (!findPlace(fields[shape.level], runs, std::min(hint / cell, std::max(0, to)), to, x, y)) continue;
                best = (y + runs.height) * cell;
                bestY = y * cell;
                place = {x * cell, bestY, static_cast<int32_t>(pose), turn};
            }
        }
        if (best > side) return false;
        hint = bestY;
        Bitmap placed = shapes[i][place.pose].map;
        for (int32_t t = 0; t < place.turns; ++t) placed = placed.turned();
        fields.add(placed, place.x, place.y);
    }
    return true;
}

// Rows of rectangles, highest first.
bool placeOnShelves(const std::vector<Piece>& pieces, double scale, const PackOptions& options,
                    std::vector<Place>& places) {
    const int32_t n = static_cast<int32_t>(pieces.size()), side = options.resolution;
    std::vector<int32_t> w(n), h(n), order(n);
    for (int32_t i = 0; i < n; ++i) {
        if (!extent(pieces[i].poses[0], scale, options.padding, side, w[i], h[i])) return false;
    }
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
        if (h[a] != h[b]) return h[a] > h[b];
        return w[a] != w[b] ? w[a] > w[b] : a < b;
    });
    places.assign(n, Place{});
    int32_t x = 0, y = 0, height = 0;
    for (int32_t i : order) {
        if (x + w[i] > side) x = 0, y += height, height = 0;
        height = std::max(height, h[i]);
        if (y + height > side) return false;
        places[i] = {x, y, 0, 0};
        x += w[i];
    }
    return true;
}

// Search over scales. Several scales and strategies run at the same time; the largest scale that fits wins, and among
// its strategies the first, so the outcome does not depend on the threads.
class Search {
  public:
    Search(const std::vector<Piece>& pieces, const PackOptions& options, const Deadline& deadline)
        : pieces_(pieces), options_(options), deadline_(deadline) {}

    void useRectangles() { options_.rectangles = true; }
    bool rectangles() const { return options_.rectangles; }

    double scale = -1;
    std::vector<Place> places;

    // `scales` ascending. Returns the index of the one that fits, -1 if none does.
    int64_t attempt(const std::vector<double>& scales, int32_t strategies) {
        const int64_t m = static_cast<int64_t>(scales.size()), n = static_cast<int64_t>(pieces_.size());
        if (options_.rectangles) strategies = 1;
        std::vector<std::vector<ShapeSet>> shapes(m);
        std::vector<uint8_t> possible(m, 1);
        if (!options_.rectangles) {
            for (auto& set : shapes) set.resize(n);
            std::vector<uint8_t> fits(m * n, 0);
            parallelFor(m * n, 4, [&](int64_t begin, int64_t end) {
                for (int64_t k = begin; k < end; ++k) {
                    const int64_t s = k / n, i = k % n;
                    fits[k] = makeShapes(pieces_[i], scales[s], options_.padding, options_.resolution, shapes[s][i]);
                }
            });
            for (int64_t s = 0; s < m; ++s) {
                int64_t bits = 0;
                for (int64_t i = 0; i < n; ++i) {
                    possible[s] = possible[s] && fits[s * n + i];
                    if (possible[s]) bits += shapes[s][i][0].bits;
                }
                const int64_t all = static_cast<int64_t>(options_.resolution) * options_.resolution;
                possible[s] = possible[s] && bits <= all;
            }
        }
        const int64_t tasks = m * strategies;  // the best outcome first: large scale, low strategy
        std::atomic<int64_t> found{tasks};
        std::vector<std::vector<Place>> results(tasks);
        parallelFor(tasks, 1, [&](int64_t begin, int64_t end) {
            for (int64_t t = begin; t < end; ++t) {
                const int64_t s = m - 1 - t / strategies;
                const auto stop = [&] { return found.load() < t || (!options_.rectangles && deadline_.passed()); };
                if (!possible[s] || stop()) continue;
                const bool ok = options_.rectangles
                                    ? placeOnShelves(pieces_, scales[s], options_, results[t])
                                    : placeAll(shapes[s], options_.resolution, static_cast<int32_t>(t % strategies),
                                               results[t], stop);
                for (int64_t now = found.load(); ok && t < now && !found.compare_exchange_weak(now, t);) {
                }
            }
        });
        const int64_t best = found.load();
        if (best == tasks) return -1;
        const int64_t s = m - 1 - best / strategies;
        scale = scales[s];
        places = std::move(results[best]);
        return s;
    }

  private:
    const std::vector<Piece>& pieces_;
    PackOptions options_;
    const Deadline& deadline_;
};

}  // namespace

Packing packCharts(const std::vector<Vec2>& uv, const std::vector<int32_t>& corner, const std::vector<int32_t>& label,
                   int32_t numCharts, const PackOptions& options, const Deadline& deadline) {
    const std::vector<Piece> pieces = makePieces(uv, corner, label, numCharts, options.rectangles);
    double area = 0, longest = 0;
    for (const Piece& p : pieces) area += p.area, longest = std::max(longest, p.poses[0].size.x);
    const double full = area > 0 ? options.resolution / std::sqrt(area)
                                 : (longest > 0 ? options.resolution / longest : 1.0);  // all texels used
    const int32_t strategies = numCharts <= 400 ? 4 : (numCharts <= 1500 ? 2 : 1);
    Search search(pieces, options, deadline);
    // Shares of the texture that are used, ascending: steps of 10 %, small ones in ratios; then finer, in all orders.
    std::vector<double> shares;
    for (double use = 1e-9; use < 0.05; use /= 0.7) shares.push_back(use);
    for (int k = 0; k < 9; ++k) shares.push_back(0.05 + 0.1 * k);
    for (int64_t end = static_cast<int64_t>(shares.size()); end > 0 && search.scale < 0;) {
        if (deadline.passed()) search.useRectangles();
        const int64_t begin = std::max<int64_t>(0, end - 5);
        std::vector<double> scales;
        for (int64_t k = begin; k < end; ++k) scales.push_back(full * std::sqrt(shares[k]));
        const int64_t found = search.attempt(scales, 1);
        if (found < 0) {
            if (!deadline.passed() || search.rectangles()) end = begin;  // else the same again with rectangles
            continue;
        }
        const int64_t k = begin + found;
        const double low = shares[k], high = k + 1 < static_cast<int64_t>(shares.size()) ? shares[k + 1] : 1.0;
        scales.clear();
        for (int i = 1; i <= 9; ++i) scales.push_back(full * std::sqrt(low + i * (high - low) / 7));
        if (!deadline.passed() || search.rectangles()) search.attempt(scales, strategies);
    }
    if (search.scale < 0) search.attempt({0.0}, 1);
    Packing out;
    if (search.scale < 0) return out;
    out.fits = true;
    out.bitmaps = !search.rectangles();
    out.scale = search.scale;
    out.uv.resize(uv.size());
    parallelFor(numCharts, 16, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const Place& place = search.places[i];
            const Pose& pose = pieces[i].poses[place.pose];
            for (int32_t row : pieces[i].rows) {
                const Vec2 p = turned(pose, inRectangle(pose, uv[row], out.scale, options.padding), out.scale,
                                      options.padding, search.rectangles() ? 0 : kMostCells, place.turns);
                out.uv[row] = p + Vec2{static_cast<double>(place.x), static_cast<double>(place.y)};
            }
        }
    });
    return out;
}

}  // namespace ovoxel::unwrap
