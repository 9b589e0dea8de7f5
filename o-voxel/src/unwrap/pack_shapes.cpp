#include "unwrap/pack_shapes.h"

#include <algorithm>
#include <cmath>

#include "common/parallel.h"

namespace ovoxel::unwrap {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr int kAngles = 90;      // half turns tried for the smallest rectangle
constexpr double kLarge = 0.004;  // share of the area from which charts get more poses
constexpr int kPoses = 3;        // of large charts, over a quarter turn

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

Pose poseAt(const std::vector<Vec2>& hull, double angle) {
    Pose pose;
    pose.cosine = std::cos(angle), pose.sine = std::sin(angle);
    Vec2 low{1e300, 1e300}, high{-1e300, -1e300};
    for (const Vec2& p : hull) {
        const Vec2 q = rotate(p, pose.cosine, pose.sine);
        low = {std::min(low.x, q.x), std::min(low.y, q.y)};
        high = {std::max(high.x, q.x), std::max(high.y, q.y)};
    }
    pose.low = low;
    pose.size = high - low;
    return pose;
}

// The turn with the smallest bounding rectangle, wider than high; then turns in between for large charts.
void choosePoses(Piece& piece, std::vector<Vec2>&& points, int poses) {
    const std::vector<Vec2> hull = convexHull(std::move(points));
    double best = std::numeric_limits<double>::infinity(), bestAngle = 0;
    for (int k = 0; k < kAngles; ++k) {
        const double angle = k * (kPi / kAngles);
        const Pose pose = poseAt(hull, angle);
        if (pose.size.x < pose.size.y * (1 - 1e-9)) continue;
        const double cost = pose.size.x * pose.size.y + 1e-9 * pose.size.x * pose.size.x;
        if (cost < best * (1 - 1e-9)) best = cost, bestAngle = angle;
    }
    for (int k = 0; k < poses; ++k) piece.poses.push_back(poseAt(hull, bestAngle + k * (kPi / 2 / poses)));
}

int32_t levelOf(int32_t width, int32_t height, int32_t mostCells) {
    int32_t level = 0;
    while (mostCells > 0 && std::max(width, height) > mostCells << level) ++level;
    return level;
}

// Texels that the chart touches: those whose centre it holds, by the winding of its border along each row, and those
// that its border passes through.
Bitmap rasterize(const Piece& piece, const Pose& pose, double scale, int32_t padding, int32_t width, int32_t height) {
    Bitmap map(width, height);
    struct Crossing {
        double x;
        int32_t row, turn;
    };
    std::vector<Crossing> crossings;
    for (const auto& edge : piece.border) {
        Vec2 a = inRectangle(pose, edge.first, scale, padding), b = inRectangle(pose, edge.second, scale, padding);
        const int32_t turn = a.y < b.y ? 1 : -1;
        if (turn < 0) std::swap(a, b);
        const double slope = b.y > a.y ? (b.x - a.x) / (b.y - a.y) : 0;
        const int32_t y0 = std::max(0, static_cast<int32_t>(a.y)), y1 = std::min(height - 1, static_cast<int32_t>(b.y));
        for (int32_t y = y0; y <= y1; ++y) {
            double xa = a.y < y ? a.x + (y - a.y) * slope : a.x, xb = b.y > y + 1 ? a.x + (y + 1 - a.y) * slope : b.x;
            if (xa > xb) std::swap(xa, xb);
            map.setRange(y, std::clamp(static_cast<int32_t>(xa), 0, width - 1),
                         std::clamp(static_cast<int32_t>(xb), 0, width - 1));
            const double middle = y + 0.5;
            if (a.y <= middle && middle < b.y) crossings.push_back({a.x + (middle - a.y) * slope, y, turn});
        }
    }
    std::sort(crossings.begin(), crossings.end(), [](const Crossing& p, const Crossing& q) {
        if (p.row != q.row) return p.row < q.row;
        return p.x != q.x ? p.x < q.x : p.turn < q.turn;
    });
    for (size_t i = 0, winding = 0; i + 1 < crossings.size(); ++i) {
        winding += static_cast<size_t>(static_cast<int64_t>(crossings[i].turn));  // modulo 2^64; zero is outside
        if (crossings[i + 1].row != crossings[i].row) {
            winding = 0;
            continue;
        }
        if (winding == 0) continue;
        const int32_t x0 = static_cast<int32_t>(std::ceil(crossings[i].x - 0.5)),
                      x1 = static_cast<int32_t>(std::floor(crossings[i + 1].x - 0.5));
        if (x0 <= x1) map.setRange(crossings[i].row, std::max(0, x0), std::min(width - 1, x1));
    }
    return map.dilated(padding);
}

}  // namespace

std::vector<Piece> makePieces(const std::vector<Vec2>& uv, const std::vector<int32_t>& corner,
                              const std::vector<int32_t>& label, int32_t numCharts, bool onePose) {
    std::vector<std::vector<int32_t>> faces(numCharts);
    for (size_t f = 0; f < label.size(); ++f) faces[label[f]].push_back(static_cast<int32_t>(f));
    std::vector<Piece> pieces(numCharts);
    const auto over = [&](auto&& body) {
        parallelFor(numCharts, 8, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) body(i);
        });
    };
    over([&](int64_t i) {
        Piece& piece = pieces[i];
        struct Edge {
            int32_t low, high, from;
        };
        std::vector<Edge> edges;
        for (int32_t f : faces[i]) {
            const int32_t* c = &corner[3 * static_cast<int64_t>(f)];
            piece.rows.insert(piece.rows.end(), c, c + 3);
            piece.area += std::abs(cross(uv[c[1]] - uv[c[0]], uv[c[2]] - uv[c[0]])) / 2;
            for (int k = 0; k < 3; ++k) {
                const int32_t a = c[k], b = c[(k + 1) % 3];
                edges.push_back({std::min(a, b), std::max(a, b), a});
            }
        }
        std::sort(piece.rows.begin(), piece.rows.end());
        piece.rows.erase(std::unique(piece.rows.begin(), piece.rows.end()), piece.rows.end());
        std::sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) {
            if (a.low != b.low) return a.low < b.low;
            return a.high != b.high ? a.high < b.high : a.from < b.from;
        });
        // Half-edges of opposite direction cancel; what is left bounds the chart.
        for (size_t k = 0; k < edges.size();) {
            int64_t sum = 0;
            size_t end = k;
            for (; end < edges.size() && edges[end].low == edges[k].low && edges[end].high == edges[k].high; ++end) {
                sum += edges[end].from == edges[k].low ? 1 : -1;
            }
            const Vec2 &a = uv[edges[k].low], &b = uv[edges[k].high];
            for (; sum > 0; --sum) piece.border.push_back({a, b});
            for (; sum < 0; ++sum) piece.border.push_back({b, a});
            k = end;
        }
    });
    double total = 0;
    for (const Piece& piece : pieces) total += piece.area;
    over([&](int64_t i) {
        std::vector<Vec2> points;
        for (int32_t row : pieces[i].rows) points.push_back(uv[row]);
        choosePoses(pieces[i], std::move(points), !onePose && pieces[i].area > kLarge * total ? kPoses : 1);
    });
    return pieces;
}

bool extent(const Pose& pose, double scale, int32_t padding, int32_t side, int32_t& width, int32_t& height) {
    const double w = std::floor(pose.size.x * scale) + 1 + 2 * padding,
                 h = std::floor(pose.size.y * scale) + 1 + 2 * padding;
    if (!(std::max(w, h) <= side)) return false;
    width = static_cast<int32_t>(w);
    height = static_cast<int32_t>(h);
    return true;
}

Vec2 inRectangle(const Pose& pose, const Vec2& uv, double scale, int32_t padding) {
    const Vec2 size = pose.size * scale;
    const Vec2 slack{std::floor(size.x) + 1 - size.x, std::floor(size.y) + 1 - size.y};
    return (rotate(uv, pose.cosine, pose.sine) - pose.low) * scale + slack * 0.5 +
           Vec2{static_cast<double>(padding), static_cast<double>(padding)};
}

Vec2 turned(const Pose& pose, const Vec2& p, double scale, int32_t padding, int32_t mostCells, int32_t turns) {
    int32_t width = 0, height = 0;
    extent(pose, scale, padding, std::numeric_limits<int32_t>::max(), width, height);
    const int32_t cell = 1 << levelOf(width, height, mostCells);
    const double w = (width + cell - 1) / cell * cell, h = (height + cell - 1) / cell * cell;
    switch (turns) {  // as Bitmap::turned does: (x, y) -> (height - y, x)
        case 1: return {h - p.y, p.x};
        case 2: return {w - p.x, h - p.y};
        case 3: return {p.y, w - p.x};
    }
    return p;
}

bool makeShapes(const Piece& piece, double scale, int32_t padding, int32_t side, ShapeSet& shapes) {
    shapes.clear();
    for (const Pose& pose : piece.poses) {
        int32_t width = 0, height = 0;
        if (!extent(pose, scale, padding, side, width, height)) return false;
        Shape shape;
        shape.level = levelOf(width, height, kMostCells);
        const int32_t cell = 1 << shape.level;
        shape.map = Bitmap((width + cell - 1) / cell * cell, (height + cell - 1) / cell * cell);
        shape.map.add(rasterize(piece, pose, scale, padding, width, height), 0, 0);
        shape.bits = shape.map.count();
        Bitmap coarse = shape.map;
        for (int32_t l = 0; l < shape.level; ++l) coarse = coarse.halved();
        for (int32_t turn = 0; turn < 4; ++turn) {
            shape.turned[turn] = Runs(coarse);
            if (turn < 3) coarse = coarse.turned();
        }
        shapes.push_back(std::move(shape));
    }
    return true;
}

}  // namespace ovoxel::unwrap
